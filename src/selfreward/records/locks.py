"""Locks on folders: `flock` where the file system supports it, else a lease, a file that its holder refreshes.

Lustre with its default mount options and some FUSE file systems refuse `flock`. There each process writes its own lease
beside the lock, with host, pid and time, and then looks for others: of two, at least the later sees the earlier and withdraws.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import json
import logging
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import IO

from selfreward.errors import SelfRewardError, holds_secret, visible
from selfreward.records.files import readable, sync_files, sync_folder

LOCK = ".lock"
TAKEN = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
"""Errors of `flock` where another process holds the lock."""
UNKNOWN = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL}
"""Errors of `flock` where the file system has no such locks."""
REFRESHED, STALE = 20.0, 300.0
"""Seconds between two refreshes of a lease, and from the last refresh until the lease has no holder."""
LOOK = 0.5
"""Seconds between two looks at whether a lease is free."""
LEASED = "%s: the file system has no flock, so a lease keeps others out: refreshed every %.0f s, it expires after %.0f min"


class LockTaken(Exception):
    """Another process holds the lock; by whom, where a lease tells."""


class Held:
    """A lock that this process holds until it is closed."""

    def __init__(self, file: IO[str], lease: Leased | None = None) -> None:
        self._file, self.lease = file, lease

    def assert_held(self, folder: Path) -> None:
        """Raises `SelfRewardError` where the lease on `folder` expired, such as in sleep, and another process took it."""
        if self.lease and self.lease.lost:
            what = f"this process did not refresh its lease for {STALE / 60:.0f} min, and another process works here now"
            raise SelfRewardError(what, str(folder), "Wait until that process ends; the same command then goes on")

    def close(self) -> None:
        """Release the lock."""
        if self.lease:
            self.lease.close()
        self._file.close()


class Leased:
    """A lease of this process, by a handle of its folder, so that it moves with the folder."""

    def __init__(self, lock: Path) -> None:
        host, pid = socket.gethostname(), os.getpid()
        self._holder = {"host": host, "pid": pid}
        self.name = f"{lock.name}-{host}-{pid}-{secrets.token_hex(4)}"
        self._folder = os.open(lock.parent, os.O_RDONLY)
        self._ended = Event()
        self._refreshing = Thread(target=self._refresh, daemon=True)
        try:
            self._write(os.O_CREAT | os.O_EXCL)
            assert_unleased(lock, self.name)
            self._refreshing.start()
        except BaseException:
            self._leave()
            raise

    @property
    def lost(self) -> bool:
        """True if it once expired, and another process removed it."""
        try:
            os.stat(self.name, dir_fd=self._folder)
        except FileNotFoundError:
            return True
        return False

    def close(self) -> None:
        """Release the lease."""
        self._ended.set()
        self._refreshing.join()
        self._leave()

    def _leave(self) -> None:
        with suppress(OSError):
            os.unlink(self.name, dir_fd=self._folder)
        os.close(self._folder)

    def _write(self, flags: int = 0) -> None:
        handle = os.open(self.name, os.O_WRONLY | flags, 0o644, dir_fd=self._folder)
        try:
            os.write(handle, json.dumps({**self._holder, "at": round(time.time(), 3)}).encode().ljust(200))
        finally:
            os.close(handle)

    def _refresh(self) -> None:
        while not self._ended.wait(REFRESHED):
            with suppress(OSError):  # a full disk, say, may pass before the lease is stale; one that is lost is not made again
                self._write()


def assert_unleased(lock: Path, mine: str = "") -> None:
    """Raises `LockTaken` where a lease other than `mine` is live. A process with its own lease also removes dead leases."""
    for file in lock.parent.glob(f"{glob.escape(lock.name)}-*"):
        if file.name != mine and (holder := _holder(file)):
            raise LockTaken(holder)
        if mine and file.name != mine:
            file.unlink(missing_ok=True)


def _holder(lease: Path) -> str:
    """The holder that may still work under a lease; empty where the lease is gone, expired, or of a dead process of this host."""
    try:
        written = lease.stat().st_mtime
        try:
            facts = json.loads(readable(lease).read_bytes())
            host, pid, at = str(facts["host"]), int(facts["pid"]), min(written, float(facts["at"]))  # its clock may be ahead
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):  # begun and not yet written
            host, pid, at = "", 0, written
    except FileNotFoundError:
        return ""
    dead = host == socket.gethostname() and _is_dead(pid)
    return "" if dead or time.time() - at >= STALE else f"process {pid} on {host}"


def _is_dead(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def _knows_flock(file: IO[str], how: int) -> bool:
    """True if `file` is locked now, False where its file system has no such locks. Raises `LockTaken`."""
    try:
        fcntl.flock(file, how)
    except OSError as error:
        if error.errno in TAKEN:
            raise LockTaken from error
        if error.errno not in UNKNOWN:
            raise
        return False
    return True


def _take(lock: Path, mode: str, how: int) -> Held:
    """Hold `lock`, by a lease where its file system knows no flock and the folder can be written to. Raises `LockTaken`."""
    if lock.exists():
        readable(lock)
    file: IO[str] = lock.open(mode)
    try:
        if _knows_flock(file, how):
            assert_unleased(lock)  # by a machine that mounts this file system without flock
            return Held(file)
        try:
            return Held(file, Leased(lock))
        except OSError as error:
            if mode != "r" or error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            assert_unleased(lock)
            return Held(file)
    except BaseException:
        file.close()
        raise


def lock_folder(path: Path) -> Held:
    """Make the folder `path` where it is missing, and keep other processes out of it until the returned lock is closed."""
    if holds_secret(str(path)):
        what = "its name holds a password, or an address with a query, which may hold a key"
        raise SelfRewardError(what, str(path), "Give the run another folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = _take(path / LOCK, "a", fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        now = "Give the run another folder"
        raise SelfRewardError(f"cannot be a run folder ({error.strerror})", str(path), now) from error
    except LockTaken as holder:
        now = "Wait for it (`selfreward status` shows its progress), or give this run another folder"
        raise SelfRewardError(f"another process is working in this run folder{_named(holder)}", str(path), now) from holder
    if lock.lease:
        logging.getLogger(__name__).warning(LEASED, visible(str(path)), REFRESHED, STALE / 60)
    return lock


@contextmanager
def made_beside(folder: Path) -> Iterator[Path]:
    """A folder to fill, empty but for its lock, that becomes `folder` at the end, atomically and durably; an error leaves none.

    The remains of a killed attempt, which have its lock, are removed first. `folder` may exist if it is empty. Raises
    `SelfRewardError` where something else has the place of the remains.
    """
    folder = folder.resolve()  # a link stays, and leads to it
    partial = folder.with_name(f"{folder.name}.partial")
    if partial.is_symlink() or (partial.is_dir() and not (partial / LOCK).exists() and any(partial.iterdir())):
        what = f"is needed for making {folder.name}, and no killed attempt left it"
        raise SelfRewardError(what, str(partial), "Move it away, or name another folder")
    lock = lock_folder(partial)
    try:
        for entry in partial.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif not entry.name.startswith(LOCK):
                entry.unlink()
        sync_folder(partial)  # its lock tells whose it is
        yield partial
        sync_files(partial)
        partial.rename(folder)
        (folder / LOCK).unlink()
        sync_folder(folder.parent)
    except Exception:  # the disk is full, say, and has better uses for what is left
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        lock.close()


def is_held(lock: Path) -> bool:
    """True if a process holds the lock; nothing is written."""
    if not lock.exists():
        return False
    with readable(lock).open() as file:
        try:
            _knows_flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # closing the file gives back what this took
            assert_unleased(lock)
        except LockTaken:
            return True
    return False


@contextmanager
def undisturbed(run: Path) -> Iterator[None]:
    """Keep all processes from working in the folder inside this context; the folder may be read-only."""
    if not (run / LOCK).exists():
        yield
        return
    try:
        lock = _take(run / LOCK, "r", fcntl.LOCK_SH | fcntl.LOCK_NB)
    except LockTaken as holder:
        what = f"a process is working in it{_named(holder)}"
        raise SelfRewardError(what, str(run), "Wait for it, or end it, and then branch") from holder
    with closing(lock):
        yield


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Wait until no other process holds `lock`, and hold it meanwhile."""
    while (handle := _taken_or_none(lock)) is None:
        time.sleep(LOOK)
    with closing(handle):
        yield


def _taken_or_none(lock: Path) -> Held | None:
    try:
        return _take(lock, "a", fcntl.LOCK_EX)
    except LockTaken:
        return None


def _named(holder: LockTaken) -> str:
    return f" ({holder})" if str(holder) else ""
