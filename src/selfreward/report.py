"""placeholder"""

from pathlib import Path


def write_report(folder: Path) -> Path:
    return folder


def describe_status(folder: Path) -> str:
    return ""
