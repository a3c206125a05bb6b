FROM python:3.13.7-slim-bookworm AS build

WORKDIR /source
COPY pyproject.toml setup.cfg README.md LICENSE ./
COPY migrations migrations
COPY sql sql
COPY chat chat
RUN pip wheel --no-cache-dir --disable-pip-version-check --no-deps --wheel-dir /wheel .


FROM python:3.13.7-slim-bookworm

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --system --user-group --no-create-home chat
WORKDIR /srv/chat

# The dependencies come first: they change seldom, so that this layer is reused.
COPY requirements.lock ./
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock
COPY --from=build /wheel /wheel
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps /wheel/*.whl

USER chat
ENV HOST=0.0.0.0
EXPOSE 8080
ENTRYPOINT ["chat"]
CMD ["serve"]
