FROM python:3.13.7-slim-bookworm

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --system --user-group --no-create-home chat
WORKDIR /srv/chat

# First what changes seldom.
COPY requirements.lock setup.cfg ./
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock

COPY chat chat
COPY sql sql
COPY migrations migrations

USER chat
ENV HOST=0.0.0.0
EXPOSE 8080
ENTRYPOINT ["python", "-m", "chat"]
CMD ["serve"]
