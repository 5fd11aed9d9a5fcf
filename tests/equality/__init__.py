"""What ships is compared between this working tree and a commit: `python -m tests.equality [BASE]`."""
