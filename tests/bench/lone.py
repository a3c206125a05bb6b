"""lone: one message after the other in a room of ten, with nothing to batch, from the socket to the last socket.

Each is written when all ten have the one before it. A pause of 5 ms lets the server end what it does afterwards.

Reference: ejabberd with the same room; see ejabberd.py.
"""

from tests.bench.crowd import Post, Rooms, chat_crowd, note, one_by_one
from tests.bench.ejabberd import ejabberd_crowd
from tests.bench.environment import Environment
from tests.bench.figures import Figures

PEOPLE = 10
MESSAGES = 300
ROOMS: Rooms = [range(PEOPLE)]


def run(env: Environment, figures: Figures, *, runs: int, quick: bool) -> None:
    """Measure both servers in turn, `runs` times. The authors take turns."""
    posts = [Post(0.0, 0, number % PEOPLE) for number in range(50 if quick else MESSAGES)]
    with chat_crowd(env, ROOMS, PEOPLE) as ours, ejabberd_crowd(env, ROOMS, PEOPLE) as theirs:
        crowds = [each for each in (ours, theirs) if each]
        for crowd in crowds:
            one_by_one(crowd, posts)  # warm
        for _ in range(runs):
            for crowd in crowds:
                note(figures, one_by_one(crowd, posts), "room of 10", reference=crowd is theirs)
