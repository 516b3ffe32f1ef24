"""What files hold, in tests that write thousands of them."""

from pathlib import Path


def put(path: Path, content: bytes) -> None:
    """Put a new file in its place: one that is overwritten waits for the disk, some 1 to 2 ms on ext4."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)
