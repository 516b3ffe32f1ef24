"""The commands of `ltpml`, one module each."""
