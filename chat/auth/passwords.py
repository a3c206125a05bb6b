"""Hashing passwords. The only module that knows argon2."""

import asyncio
import os
import secrets
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, TypeVar

import argon2

from chat.errors import Unavailable

T = TypeVar("T")
NICE = 5  # of the password threads, as in nice(1): a third of the share, while the loop wants the core too


class Passwords:
    """argon2id in a small thread pool of its own, so that log-ins never starve the loop or the chat.

    A hash takes about 0.1 s and 64 MiB; one lane, since several only fight with the loop for the cores.
    Who finds no free thread within `wait_s` seconds gets `Unavailable`.
    """

    def __init__(self, *, threads: int, wait_s: float) -> None:
        self._hasher = argon2.PasswordHasher(parallelism=1)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="password", initializer=_give_way)
        self._free = asyncio.Semaphore(threads)
        self._wait_s = wait_s
        self._threads.submit(lambda: self._nobody)
        self.verifications = 0  # so that a test can count that unknown users cost as much as known ones

    async def hash(self, password: str) -> str:
        """The password's encoded hash. Raises `Unavailable`."""
        return await self._in_thread(self._hasher.hash, password)

    async def verify(self, encoded: str | None, password: str) -> bool:
        """Whether the password fits; None (nobody has this address) costs the same and never fits."""
        self.verifications += 1
        fits = await self._in_thread(self._fits, encoded, password)
        return fits and encoded is not None

    def outdated(self, encoded: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(encoded)

    def close(self) -> None:
        """Ends the threads; what they have begun they finish."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @cached_property
    def _nobody(self) -> str:
        """A hash that is nobody's; made in a thread, so that the start does not wait for it."""
        return self._hasher.hash(secrets.token_urlsafe())

    def _fits(self, encoded: str | None, password: str) -> bool:
        try:
            return self._hasher.verify(encoded or self._nobody, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        try:
            await asyncio.wait_for(self._free.acquire(), self._wait_s)
        except TimeoutError:
            raise Unavailable("too many people are logging in; try again in a moment") from None
        job = asyncio.get_running_loop().run_in_executor(self._threads, work, *args)
        # Released when the thread is free, not when the asker goes away: he may have hung up, and without the shield
        # that would cancel the future, though never the thread.
        job.add_done_callback(lambda _: self._free.release())
        return await asyncio.shield(job)


def _give_way() -> None:
    """Puts this thread behind the loop's, for when both want the same core. Linux: elsewhere it is the process."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
