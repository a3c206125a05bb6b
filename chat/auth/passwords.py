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

HASH_THREAD_NICE = 5  # as in nice(1): a third of a core while the event loop wants it too


DEFAULT_HASHER = argon2.PasswordHasher(parallelism=1)  # one lane: more compete with the event loop for the cores


class Passwords:
    """argon2id in a small thread pool of its own, so that log-ins never starve the event loop.

    With the default `hasher`, a hash takes about 0.1 s and 64 MiB. A caller that finds no free thread within
    `queue_timeout_s` seconds gets `Unavailable`.

    verifications: how many there were, so that a test can see that unknown users cost as much as known ones
    """

    def __init__(self, *, threads: int, queue_timeout_s: float, hasher: argon2.PasswordHasher = DEFAULT_HASHER) -> None:
        self._hasher = hasher
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="password", initializer=_lower_priority)
        self._free = asyncio.Semaphore(threads)
        self._queue_timeout_s = queue_timeout_s
        self._threads.submit(lambda: self._dummy_hash)
        self.verifications = 0

    async def hash(self, password: str) -> str:
        """The password's encoded hash. Raises `Unavailable`."""
        return await self._in_thread(self._hasher.hash, password)

    async def verify(self, encoded: str | None, password: str) -> bool:
        """Whether the password matches. None (no such account) costs the same and never matches. Raises
        `Unavailable`."""
        self.verifications += 1
        matches = await self._in_thread(self._matches, encoded, password)
        return matches and encoded is not None

    def needs_rehash(self, encoded: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(encoded)

    def close(self) -> None:
        """End the threads. They finish what they have begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @cached_property
    def _dummy_hash(self) -> str:
        """The hash of no account; made in a thread, so that the start does not wait for it."""
        return self._hasher.hash(secrets.token_urlsafe())

    def _matches(self, encoded: str | None, password: str) -> bool:
        try:
            return self._hasher.verify(encoded or self._dummy_hash, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        try:
            await asyncio.wait_for(self._free.acquire(), self._queue_timeout_s)
        except TimeoutError:
            raise Unavailable("Too many people are logging in. Try again in a moment.") from None
        job = asyncio.get_running_loop().run_in_executor(self._threads, work, *args)
        # Released when the thread is free, not when the caller goes away: without the shield, a client that hangs up
        # would cancel the future, though never the thread.
        job.add_done_callback(lambda _: self._free.release())
        return await asyncio.shield(job)


def _lower_priority() -> None:
    """Put this thread behind the loop's, for when both want the same core. Linux: elsewhere it is the process."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, 0, HASH_THREAD_NICE)
