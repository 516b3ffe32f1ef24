# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
"""
# Your own labels

From a table of labels, some of which are in doubt, to a network that labels new pictures. The pictures are of shapes
and are drawn here, so that the truth is known; put your own in their place. It runs in a temporary folder, from top
to bottom, also as a plain program: `python docs/notebooks/own_data.py`.
"""

# %%
import csv
import tempfile
from pathlib import Path

import numpy as np
import shapes  # beside this file, as is command
from command import ltpml

import ltpml_jax

folder = Path(tempfile.mkdtemp(prefix="own_data_"))
print(f"Everything is written to {folder}")

# %% [markdown]
# ## Pictures and a table
#
# In the table a label is `1` (there), `0` (not there), `?` (perhaps: a candidate) or nothing (no annotator looked).
# Here the annotators were in doubt about 30 % of the pictures: what they list with `?` holds all that is there, and
# more. A tenth of the labels they left out. Test labels are complete.

# %%
rng = np.random.default_rng(0)
rows = []
for split, count in (("train", 480), ("test", 120)):
    pictures, truth = shapes.draw_many(count, seed=len(split))
    names = shapes.save(pictures, folder / "pictures", split)
    written = truth.astype(str).astype(object)
    if split == "train":
        in_doubt = rng.random((count, 1)) < 0.3
        written[in_doubt & ((truth == 1) | (rng.random(truth.shape) < 0.2))] = "?"
        written[rng.random(truth.shape) < 0.1] = ""
    rows += [[name, split, *labels] for name, labels in zip(names, written, strict=True)]

with (folder / "labels.csv").open("w", newline="") as file:
    csv.writer(file).writerows([["path", "split", *shapes.NAMES], *rows])
print(*(folder / "labels.csv").read_text().splitlines()[:5], sep="\n")

# %% [markdown]
# ## Prepare
#
# Checks every picture and every label, and writes the dataset. What is wrong in a table is one sentence.

# %%
ltpml(
    "prepare", "--dataset=shapes", f"--csv={folder}/labels.csv", f"--images={folder}/pictures", f"--out={folder}/data"
)

# %% [markdown]
# ## Train
#
# The noise model asks how labels came to be, and needs no rate from you. For photographs take a ResNet-50 with its
# published weights, as `configs/own_data.py` does; a small network is enough for shapes.

# %%
config = ltpml_jax.default_config()
config.data.name, config.data.dir = "shapes", str(folder / "data")
config.data.unknown, config.data.sampler = "unknown", "shuffle"
config.data.image_size = shapes.SIDE
config.model.backbone, config.model.pretrained = "resnet_small", "digits_small"
config.model.frozen_stages = 0  # the stored weights have seen digits only
config.method.name = "noise_model"
config.optim.schedule, config.train.epochs = "cosine", 12
ltpml_jax.train(config, folder / "run")

# %% [markdown]
# ## Predict
#
# Pictures that have no labels. The file has the labels and the score of every class;
# `ltpml_jax.open_run(folder / "run").predict(new)` gives the logits as an array. A class counts as present
# from the score on that as many training pictures exceed as are estimated to have it (`--threshold=0.5` takes another).

# %%
new, truth = shapes.draw_many(60, seed=1)
shapes.save(new, folder / "new", "new")
ltpml("predict", f"--workdir={folder}/run", folder / "new", f"--out={folder}/found.csv")
with (folder / "found.csv").open(newline="") as file:
    found = {Path(row["path"]).name: set(row["labels"].split(";")) for row in csv.DictReader(file)}

right = 0
for number, row in enumerate(truth):
    there, name = {shapes.NAMES[j] for j in np.flatnonzero(row)}, f"new{number}.png"
    right += len(shapes.NAMES) - len(there ^ (found[name] & {*shapes.NAMES}))
    if number < 5:
        print(f"{name}: found {', '.join(sorted(found[name]))}; there is {', '.join(sorted(there))}")

# %%
print(f"{right} of {truth.size} labels of {len(new)} new pictures are right")
