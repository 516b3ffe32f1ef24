# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
"""
# Audit labels and correct them

Some labels are wrong, and you would rather not look at all of them. A network that trained on them says which ones
to look at; you decide; the corrected dataset keeps a list of what changed. It runs in a temporary folder, from top
to bottom, also as a plain program: `python docs/notebooks/audit_and_correct.py`.
"""

# %%
import csv
import tempfile
from pathlib import Path

import numpy as np
import shapes  # beside this file, as is command
from command import ltpml

import ltpml_jax
from ltpml_jax.data import datasets

folder = Path(tempfile.mkdtemp(prefix="audit_"))
print(f"Everything is written to {folder}")

# %% [markdown]
# ## Labels of which some are wrong
#
# One label in twenty of the training pictures says the opposite of what is there.

# %%
rng = np.random.default_rng(0)
truth, given, rows = {}, {}, []
for split, count in (("train", 480), ("test", 60)):
    pictures, truth[split] = shapes.draw_many(count, seed=len(split))
    names = shapes.save(pictures, folder / "pictures", split)
    wrong = (rng.random(truth[split].shape) < 0.05) & (split == "train")
    given[split] = np.where(wrong, 1 - truth[split], truth[split])
    rows += [[name, split, *labels] for name, labels in zip(names, given[split], strict=True)]

with (folder / "labels.csv").open("w", newline="") as file:
    csv.writer(file).writerows([["path", "split", *shapes.NAMES], *rows])
ltpml("prepare", "--dataset=noisy", f"--csv={folder}/labels.csv", f"--images={folder}/pictures", f"--out={folder}/data")
before = int((given["train"] != truth["train"]).sum())
print(f"{before} of {given['train'].size} training labels are wrong")

# %% [markdown]
# ## Two runs, each on the half that the other one does not see
#
# A network that trained on a wrong label may have learned it by heart. `data.fold` holds a part of the pictures out, so
# that every label is judged by a network that never saw it.

# %%
for fold in ("1/2", "2/2"):
    config = ltpml_jax.default_config()
    config.data.name, config.data.dir, config.data.fold = "noisy", str(folder / "data"), fold
    config.data.sampler, config.data.image_size = "shuffle", shapes.SIDE
    config.model.backbone, config.model.pretrained = "resnet_small", "digits_small"
    config.model.frozen_stages = 0  # the stored weights have seen digits only
    config.method.name, config.optim.schedule, config.train.epochs = "bce", "cosine", 10
    ltpml_jax.train(config, folder / f"fold{fold[0]}")

# %% [markdown]
# ## Audit
#
# `index.html` in the folder of the audit is the page to decide on, with a picture on each card; `entries.csv` has the
# same list.

# %%
ltpml("audit", f"--workdir={folder}/fold1,{folder}/fold2", f"--out={folder}/audit")
with (folder / "audit" / "entries.csv").open(newline="") as file:
    listed = [row for row in csv.DictReader(file) if row["distrust"]]
for row in listed[:5]:
    print(f"{row['id']}: {row['class']} is {row['given']}, belief {float(row['belief']):.2f}: {row['reason']}")

# %% [markdown]
# ## Decide
#
# The page downloads a file like the one that is written here. In your place, the known truth decides on the first 100
# labels of the list.

# %%
decided = []
for row in sorted(listed, key=lambda row: int(row["rank"]))[:100]:
    number = int(row["id"].removeprefix("train").removesuffix(".png"))
    state = truth["train"][number, shapes.NAMES.index(row["class"])]
    decided.append([row["id"], row["class"], state, int(row["given"] == "positive"), row["reason"]])

with (folder / "corrections.csv").open("w", newline="") as file:
    csv.writer(file).writerows([["id", "class", "state", "was", "note"], *decided])

# %% [markdown]
# ## Correct
#
# A new dataset, with the same pictures in the same order. It lists every change, and the old one stays as it is.

# %%
ltpml("prepare", "--dataset=better", "--from=noisy", f"--corrections={folder}/corrections.csv", f"--out={folder}/data")
labels = {name: datasets.load(name, str(folder / "data")).train.labels for name in ("noisy", "better")}
after = int((labels["better"] != truth["train"]).sum())
row, column = np.argwhere(labels["better"] != labels["noisy"])[0].tolist()
was, now = ("present" if labels[name][row, column] else "absent" for name in ("noisy", "better"))
print(f"For example, {shapes.NAMES[column]} in train{row}.png:")
print(f"  was {was}, is {now}")

# %%
print(f"Wrong labels: {before} before, {after} after a look at {len(decided)} of {given['train'].size}")
