# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
"""
# Change one idea

NDLP is made of small functions, and any of them can be yours. Here: which images count as reliable. It runs in a
temporary folder, from top to bottom, also as a plain program: `python docs/notebooks/change_one_idea.py`.
"""

# %%
import json
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import ltpml_jax
from ltpml_jax.methods import base, losses, ndlp

folder = Path(tempfile.mkdtemp(prefix="one_idea_"))
print(f"Everything is written to {folder}")

# %% [markdown]
# ## The idea
#
# NDLP takes, for each class, the images with the smallest loss among those that it believes to have the class, and
# unites them. Suppose that classes do not matter for this: the images with the smallest loss, whatever is in them.
# The function gets the losses [B], hard labels [B, C], class distribution [C] and the share that grows by epoch, and
# says of each image whether it counts. It is compiled with the step, so that it has to be made of JAX's functions.


# %%
def smallest_losses(loss: jax.Array, hard: jax.Array, distribution: jax.Array, share: jax.Array) -> jax.Array:
    """Reliable images bool [B]: the given share of the batch, by smallest loss."""
    rank = jnp.argsort(jnp.argsort(loss))
    return rank < share * loss.shape[0]


# %% [markdown]
# Try it on numbers first: of four images, half.

# %%
tried = smallest_losses(jnp.array([0.3, 0.1, 0.2, 0.4]), jnp.ones((4, 2)), jnp.ones(2) / 2, jnp.array(0.5))
print(f"reliable: {tried.tolist()}")

# %% [markdown]
# ## Train both
#
# The same data, seed and settings. Two short epochs on small images only show how it is done; for a comparison take
# 64 pixels, ten epochs and three seeds.

# %%
config = ltpml_jax.default_config()
config.data.partial_rate, config.data.image_size, config.data.batch_size = 0.3, 32, 128
config.data.flip, config.jitter.channel_shuffle = 0.0, False  # as configs/digits_mlt.py: digits, and colours matter
config.model.backbone, config.model.pretrained = "resnet_small", "digits_small"
config.train.epochs = 2
plan = base.Plan(config.train.epochs, config.data.batch_size)

scores = {}
for name, parts in {
    "published": ndlp.NDLPParts(),
    "smallest_losses": ndlp.NDLPParts(select_reliable=smallest_losses),
}.items():
    method = ndlp.ndlp(ndlp.NDLPSettings(), losses.DBSettings(), plan, parts)
    table = ltpml_jax.train(config, folder / name, method=method)
    scores[name] = table[f"last (epoch {config.train.epochs})"]

# %% [markdown]
# ## Compare
#
# The reliable images come in from the second epoch on, when NDLP mixes pairs of them; so the first epoch must be the
# same in both runs, and it is a check of the change that it is.

# %%
epochs = {}
for name in scores:
    records = [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]
    epochs[name] = [record["epoch_loss"] for record in records if "epoch_loss" in record]
    print(f"{name}: loss by epoch {np.round(epochs[name], 4).tolist()}")

# %%
for name, found in scores.items():
    print(f"{name:<16} test mAP {found['mAP_total']:.2f}: one seed, which says nothing on which is better")
