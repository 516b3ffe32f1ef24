"""Joins the other processes as ltpml_jax.main does, adds up their numbers, prints what came out and its arguments."""

import os
import sys

import jax
import numpy as np
from jax.experimental import multihost_utils

from ltpml_jax.runtime import processes

processes.join("--multihost" in sys.argv, limit=60, silence=60)
numbers = multihost_utils.process_allgather(np.int32(10 + jax.process_index()))
words = ["joined", jax.process_index(), jax.process_count(), int(np.sum(numbers)), *sys.argv[1:]]
os.write(1, f"\n{' '.join(map(str, words))}\n".encode())  # in one piece: the processes share the pipe
