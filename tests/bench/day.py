"""day: an ordinary working day: 500 people in 50 rooms of 2 to 100, 10 and 40 messages a second, nothing to batch.

The loop is open, the moments are random (as many a second in the mean), the same for both servers. A delay ends when
the last person of the room has the message. CPU is that of the server, of PostgreSQL and of RabbitMQ together, with
what they do when nothing is said. How late the load itself wrote tells a stall of the machine from one of a server.

Reference: ejabberd with the same people in rooms whose archive is in the same PostgreSQL; see ejabberd.py.
"""

from random import Random

from tests.bench.crowd import Post, Rooms, chat_crowd, note, on_time
from tests.bench.ejabberd import ejabberd_crowd
from tests.bench.environment import Environment
from tests.bench.figures import Figures

PEOPLE, ROOMS = 500, 50
SMALLEST, LARGEST = 2, 100
RATES = (10, 40)
RUN_S = 12.0
WARM_S = 2.0
AIMS = {"last recipient p50 ms": 0.9, "last recipient p99 ms": 0.8, "CPU s for 1,000 messages": 0.55}


def run(env: Environment, figures: Figures, *, runs: int, quick: bool) -> None:
    """Measure both rates on both servers in turn, `runs` times."""
    seconds = 2.0 if quick else RUN_S
    rooms = shape()
    with chat_crowd(env, rooms, PEOPLE) as ours, ejabberd_crowd(env, rooms, PEOPLE) as theirs:
        crowds = [each for each in (ours, theirs) if each]
        for crowd in crowds:
            on_time(crowd, schedule(rooms, RATES[-1], WARM_S, 0))
        for number in range(1, runs + 1):
            for rate in RATES:
                posts, aims = schedule(rooms, rate, seconds, number), AIMS if rate == RATES[-1] else {}
                for crowd in crowds:
                    note(figures, on_time(crowd, posts), f"{rate}/s", reference=crowd is theirs, aims=aims)


def shape() -> Rooms:
    """Rooms whose sizes rise by a constant factor. People are dealt to them in turn: each is in two or three."""
    rooms, dealt = [], 0
    for number in range(ROOMS):
        size = round(SMALLEST * (LARGEST / SMALLEST) ** (number / (ROOMS - 1)))
        rooms.append([person % PEOPLE for person in range(dealt, dealt + size)])
        dealt += size
    return rooms


def schedule(rooms: Rooms, rate: float, seconds: float, seed: int) -> list[Post]:
    """As many messages as come in some seconds, at random moments, by random members of random rooms."""
    random = Random(seed)
    due = sorted(random.uniform(0, seconds) for _ in range(round(rate * seconds)))
    return [Post(moment, room := random.randrange(len(rooms)), random.choice(rooms[room])) for moment in due]
