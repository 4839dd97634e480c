"""Errors of the operating system, and memory that ran out, as the one line that users read: which file, and the way out."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator

from selfreward.errors import SelfRewardError, first_line
from selfreward.records import NoFile


def _then(do: str) -> str:
    return f"Nothing written before is lost: {do}, then run the same command"


FULL = ("the disk is full", _then("make room"))
DENIED = ("there is no permission", _then("ask the owner of the file or folder for it, or name another"))
OPEN = ("too many files are open", _then("raise the limit (`ulimit -n 65536`)"))
IN_THE_WAY = ("a file stands where a folder should be", _then("move it away, or name another path"))
AWAY = ("the disk, or the network to it, does not answer", _then("see that it is there, mount it again"))
DAMAGED = ("the file system is damaged", _then("have it repaired (fsck)"))
KNOWN = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EROFS: ("the file system is read-only", _then("make it writable, or name another folder")),
    errno.EACCES: DENIED,
    errno.EPERM: DENIED,
    errno.EIO: ("the disk, or the network to it, failed (input/output error)", _then("look at the system's log, and repair it")),
    errno.EUCLEAN: DAMAGED,
    errno.EBADMSG: DAMAGED,
    errno.ESTALE: ("the network file system lost it (stale file handle)", _then("mount it again")),
    **dict.fromkeys(
        (errno.ETIMEDOUT, errno.ENOTCONN, errno.ESHUTDOWN, errno.EREMOTEIO, errno.EHOSTDOWN, errno.ENODEV, errno.ENXIO), AWAY
    ),
    **dict.fromkeys((errno.EBUSY, errno.ETXTBSY), ("something else uses it", _then("end that"))),
    errno.EFBIG: ("it is larger than a file may be here", _then("raise the limit (`ulimit -f unlimited`) or use another disk")),
    errno.EMFILE: OPEN,
    errno.ENFILE: OPEN,
    errno.ENAMETOOLONG: ("the name is too long", "Give a shorter name"),
    errno.EISDIR: ("a folder stands where a file should be", _then("move it away, or name another path")),
    errno.ENOTDIR: IN_THE_WAY,
    errno.EEXIST: IN_THE_WAY,
    errno.ENOENT: ("is not there", "Restore it, or give a path that exists"),
    errno.ELOOP: ("its links go round in a circle", "Give the folder itself"),
}
"""Code of the error → what is wrong, and the way out."""
WRITTEN = re.compile(r"os error (\d+)|\[errno (\d+)\]", re.IGNORECASE)
"""The error codes in texts of libraries that are not written in Python."""
SAID = {
    "No space left on device": errno.ENOSPC,
    "PytorchStreamWriter failed": errno.ENOSPC,
    "Symlink loop from": errno.ELOOP,  # Python 3.11's own words, of no OSError
    "can't allocate memory": errno.ENOMEM,
    "not enough memory": errno.ENOMEM,
}


def system_error(error: Exception, place: str) -> SelfRewardError | None:
    """`error` as one that users can put right; None where it is not the system's. `place` is named where no file is."""
    for cause in _behind(error):
        code = _code(cause)
        if code == errno.ENOMEM:
            now = _then(
                "free some, or lower device_batch_size in [sft] and [dpo] or set [trainer.lora] where a training ran out, "
                "and backend.max_tokens_in_flight where sampling did"
            )
            return SelfRewardError(f"there is not enough ({first_line(cause)[:120]})", "memory", now)
        file = _file(cause, code)
        if code == errno.ENOENT and not file and not _is_somewhere():
            return SelfRewardError("is not there any more", "the current folder", "Change to one that is, and try again")
        if code in KNOWN and (file or code not in (errno.ENOENT, errno.EEXIST, errno.ENOTDIR)):
            what, now = KNOWN[code]
            return SelfRewardError(what, file or place, now)
        if code and file:
            what = str(cause.strerror) if isinstance(cause, NoFile) else os.strerror(code)
            return SelfRewardError(what, file, _then("correct it"))
    return None


def _is_somewhere() -> bool:
    """True if the folder that this process works in is still there."""
    try:
        return bool(os.getcwd())
    except FileNotFoundError:
        return False


def _behind(error: BaseException | None) -> Iterator[Exception]:
    """An error, and the errors that it was raised from."""
    while isinstance(error, Exception):
        yield error
        error = error.__cause__


def _code(error: Exception) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, of any device
        return errno.ENOMEM
    text = str(error)
    if written := WRITTEN.search(text):
        return int(written[1] or written[2])
    return next((code for phrase, code in SAID.items() if phrase in text), None)


def _file(error: Exception, code: int | None) -> str:
    """The file that an error names; empty where it names none."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        source, target, _ = error.args[0][0]  # of a folder that was copied, the first file that was not
        return str(source if code == errno.ENOENT else target)
    name = getattr(error, "filename", None)
    return os.fsdecode(name) if isinstance(name, str | bytes) else ""
