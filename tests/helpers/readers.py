"""Every reader of people's files with a small valid input, for tests that damage the input."""

import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from PIL import Image
from safetensors.numpy import save

from ltpml_jax.commands import config_file
from ltpml_jax.config import validate
from ltpml_jax.data import datasets, manifest, prepared
from ltpml_jax.data.labels import class_counts
from ltpml_jax.data.listing import Listing
from ltpml_jax.data.locations import measure_all
from ltpml_jax.data.readers import (
    coco,
    corrections,
    label_studio,
    list_files,
    published_pickles,
    reference_cache,
    tables,
    voc,
)
from ltpml_jax.data.writing import metadata, recipe, writer
from ltpml_jax.evaluation import expected_thresholds, model_file, predictions_file
from ltpml_jax.inference import thresholds
from ltpml_jax.models import weight_files
from ltpml_jax.runtime import metrics_log
from ltpml_jax.workdir import saved_config
from tests.helpers import workdirs

UNLISTED = (None, "negative", "unknown")
CONFIG = """from ltpml_jax.config import default_config


def get_config(argument=""):
    config = default_config()
    config.data.name = "mine"
    config.data.image_size = 64
    config.optim.learning_rate = 0.01
    config.optim.betas = (0.9, 0.999)
    config.train.epochs = 3
    return config
"""


class Reader(NamedTuple):
    """A reader: the folder and content of its files by name, and a function that reads them there."""

    name: str
    folder: Path
    files: dict[str, bytes]
    read: Callable[[random.Random], Any]


def make(folder: Path) -> list[Reader]:
    """All readers, with their files written below `folder`."""
    found = [
        *_of_labels(folder / "labels"),
        *_of_lists(folder / "lists"),
        *_of_datasets(folder / "data"),
        *_of_runs(folder / "run"),
    ]
    for reader in found:
        for name, content in reader.files.items():
            (reader.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (reader.folder / name).write_bytes(content)
    return found


def _finish(listing: Listing) -> None:
    """What `prepare` does with a listing before it reads images."""
    recipe.check_splits(Listing(listing.class_names, listing.splits | {"test": listing.splits["train"]}))
    sizes = {split: measure_all(listed.paths) for split, listed in listing.splits.items()}
    recipe.digest("mine", listing, sizes)
    json.dumps(metadata.statistics(listing), ensure_ascii=False).encode()


def _of_labels(home: Path) -> list[Reader]:
    """Readers of people's own labels."""
    wide = b'path,id,split,cat,"a dog"\na.jpg,1,train,1,0\nb.jpg,2,test,?,\n"c, d.jpg",3,validation,0,1\n'
    lists = b"path,annotator,positive,candidates,negative\na.jpg,x,cat;dog,,fox\na.jpg,y,cat,dog,fox\nb.jpg,x,,fox,\n"
    long = b"path,class,value\na.jpg,cat,1\na.jpg,dog,0\nb.jpg,cat,-1\n"
    csvs = {
        "wide.csv": (wide, None, None),
        "lists.csv": (lists, "unknown", None),
        "long.csv": (long, "negative", "candidate"),
    }
    tables_ = [
        Reader(
            name,
            home,
            {name: content},
            lambda _, name=name, how=how: _finish(tables.read_table(str(home / name), "/photos", *how)),
        )
        for name, (content, *how) in csvs.items()
    ]
    annotation = (
        b"<annotation><filename>1.jpg</filename><object><name>cat</name><difficult>1</difficult></object>"
        b"<object><name>a dog</name></object></annotation>"
    )
    trees = {f"voc/Annotations/{number}.xml": annotation.replace(b"1.jpg", b"%d.jpg" % number) for number in (1, 2)}
    trees |= {"voc/ImageSets/Main/train.txt": b"1\n", "voc/ImageSets/Main/test.txt": b"2 1\n"}
    return [
        *tables_,
        Reader("coco", home, {"c.json": json.dumps(_coco()).encode()}, lambda draw: _finish(
            coco.read_coco({"train": str(home / "c.json")}, "/photos", draw.choice(UNLISTED)))),
        Reader("label studio", home, {"l.json": json.dumps(_studio()).encode()}, lambda draw: _finish(
            label_studio.read_export(str(home / "l.json"), "/photos", draw.choice(UNLISTED[1:])))),
        Reader("voc", home, trees, lambda draw: _finish(voc.read_voc(str(home / "voc"), "", draw.choice(UNLISTED)))),
    ]  # fmt: skip


def _coco() -> dict[str, Any]:
    images = [{"id": n, "file_name": f"{n}.jpg", "neg_category_ids": [9]} for n in range(3)]
    images.append({"id": "x", "coco_url": "http://images.org/train2017/7.jpg", "category_ids": [9]})
    return {
        "images": images,
        "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "a dog"}],
        "annotations": [{"id": n, "image_id": n, "category_id": 3, "bbox": [0, 0, 1, 1]} for n in range(3)],
    }


def _studio() -> list[dict[str, Any]]:
    def chosen(*names: str) -> dict[str, Any]:
        return {"result": [{"type": "choices", "value": {"choices": list(names)}}], "was_cancelled": False}

    return [
        {
            "id": 1,
            "data": {"image": "/data/local-files/?d=a%20b.jpg", "id": "A"},
            "annotations": [chosen("cat", "dog")],
        },
        {"id": 2, "data": {"image": "c.jpg"}, "annotations": [chosen("dog"), chosen("cat")]},
        {"id": 3, "image": "e.jpg", "labels": {"choices": ["dog"]}, "annotator": 1},
        {"id": 4, "image": "f.jpg", "labels": "cat"},
    ]


def _of_lists(home: Path) -> list[Reader]:
    """Readers of the published lists, pickles and caches."""
    names = ("cat", "a dog", "fox")
    split = {"head": np.array([0]), "middle": {1}, "tail": [2]}
    cache = home / "cache.npy"
    home.mkdir(parents=True)
    np.save(cache, np.array({"partial_labels": np.eye(3)[:, None]}), allow_pickle=True)
    counts = np.ones(3)

    def pickles(_: random.Random) -> None:
        files = [epath.Path(home / f"class_{word}.pkl") for word in ("split", "freq")]
        published_pickles.compare(files, names, counts, True)

    return [
        Reader("classes", home, {"labels.txt": b"cat 0\r\na dog 1\r\nfox 2\n"}, lambda _: list_files.read_classes(
            epath.Path(home / "labels.txt"))),
        Reader("images", home, {"train.txt": b"v/a.jpg 0 1\nv/b c.png 2\r\nv/d.jpeg"}, lambda _: list_files.read_images(
            epath.Path(home / "train.txt"), 3)),
        Reader("pickles", home, {"class_split.pkl": pickle.dumps(split, 2), "class_freq.pkl": pickle.dumps(
            {"class_freq": [1, 2, 3]}, 4)}, pickles),
        Reader("cache", home, {"cache.npy": cache.read_bytes(), "order.txt": b"x/a.jpg\nb.jpg\nc.jpg\n"}, lambda _: (
            reference_cache.reorder(reference_cache.read_table(cache), home / "order.txt", ["a", "b", "c"]))),
    ]  # fmt: skip


def _of_datasets(home: Path) -> list[Reader]:
    """Readers of prepared datasets, candidate sets and corrections."""
    home.mkdir(parents=True)
    for name in "ab":
        Image.new("RGB", (8, 8)).save(home / f"{name}.jpg")
    rows = "path,split,cat,a dog\na.jpg,train,1,0\nb.jpg,test,0,1\n"
    (home / "own.csv").write_text(rows)
    listing = tables.read_table(str(home / "own.csv"), str(home))
    writer.write("mine", listing, home, jobs=1)
    folder = prepared.folder_of("mine", home)
    states = np.array([[1, 0], [2, 3]], np.int8)
    manifest.save(home / "m.safetensors", states, {"dataset": "mine", "kind": "partial"})

    def dataset(_: random.Random) -> None:
        opened = datasets.load("mine", str(home))
        class_counts(opened.train.labels)
        metadata.text(writer.already(epath.Path(folder), prepared.read_metadata(epath.Path(folder))["plan"])).encode()

    def corrected(_: random.Random) -> None:
        table, found = corrections.read(str(home / "corrections.csv"))
        corrections.apply(table, found, "mine", ("cat", "a dog"), {"train": ["a", "b"]}, {"train": states})

    text = b"id,class,state,was,note\na,cat,0,1,why\nb,a dog,1,,\nb,cat,?,candidate,x\n"
    return [
        Reader("metadata", Path(folder), {"lt_pml.json": (folder / "lt_pml.json").read_bytes()}, dataset),
        Reader("label states", Path(folder), {"labels-train.npy": (folder / "labels-train.npy").read_bytes()}, dataset),
        Reader("manifest", home, {"m.safetensors": (home / "m.safetensors").read_bytes()}, lambda _: manifest.check(
            manifest.load(home / "m.safetensors"), states, "mine")),
        Reader("corrections", home, {"corrections.csv": text}, corrected),
    ]  # fmt: skip


def _of_runs(home: Path) -> list[Reader]:
    """Readers of configs, work directories and weights."""
    states = np.eye(6, dtype=np.int8)
    workdirs.write(home, states, workdirs.guesses(states, 1.0, 0))
    names = tuple("abcdef")
    expected_thresholds.save(home, names, np.full(6, 0.5), 10, "test")
    kept = ("config.json", "model.json", predictions_file.FILE, metrics_log.FILE, expected_thresholds.FILE)
    made = {name: (home / name).read_bytes() for name in kept}
    readers: dict[str, Callable[[random.Random], Any]] = {
        "config.json": lambda _: validate(saved_config(home)),
        "model.json": lambda _: model_file.load(home),
        predictions_file.FILE: lambda _: predictions_file.load(home),
        metrics_log.FILE: lambda _: (metrics_log.unreadable(home), metrics_log.lost(home, 10, 5)),
        expected_thresholds.FILE: lambda _: thresholds.decide("expected", names, home, 10),
    }
    weights = save({"a": np.ones(3, np.float32), "b": np.zeros((2, 2), np.float16)})
    found = [Reader(name, home, {name: made[name]}, read) for name, read in readers.items()]
    return [
        *found,
        Reader("config file", home, {"config.py": CONFIG.encode()}, lambda _: validate(
            config_file.load(str(home / "config.py")))),
        Reader("thresholds", home, {"t.json": json.dumps(dict.fromkeys(names, 0.5)).encode()}, lambda _: (
            thresholds.decide(str(home / "t.json"), names, home, 0))),
        Reader("weights", home, {"w.safetensors": weights}, lambda _: weight_files.read(home / "w.safetensors")),
    ]  # fmt: skip
