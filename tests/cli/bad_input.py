"""The table of bad input: commands, what they find in their folder, and what their one message must name."""

# ruff: noqa: E501 - a case is a line
from __future__ import annotations

import io
import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from domain_masks.data.pacs import CLASSES, DOMAINS
from domain_masks.networks import build_backbone
from domain_masks.records.config import RunConfig

TRAIN = ["train", "--out", "run", "--fast", "--device", "cpu"]
NUMBERS = ("0", "-1", "nan", "inf", "many")
ALLOWED = {
    "0": {
        *("workers", "split_seed", "seed", "momentum", "weight_decay", "schedule_gamma", "schedule_power"),
        *("random_erasing", "label_smoothing", "warmup_epochs", "freeze_epochs", "unfreeze_every"),
    },
    "method.0": {"overlap_weight", "overlap_epsilon", "sparsity_weight", "initialisation"},
    "method.-1": {"initialisation"},
}
"""Numbers that a setting may have."""
METHOD_NUMBERS = ("overlap_weight", "overlap_epsilon", "sparsity_weight", "initialisation")


@dataclass(frozen=True)
class Case:
    """A command, made in a folder of its own by ``make``, and words that its one message must hold."""

    arguments: list[str]
    words: tuple[str, ...]
    make: Callable[[Path], None] = field(default=lambda _: None)


def numeric_settings() -> list[str]:
    schema = RunConfig.model_json_schema()["properties"]
    return [
        name
        for name, entry in schema.items()
        if {part.get("type") for part in [entry, *entry.get("anyOf", ())]} & {"integer", "number"}
    ]


def numeric_cases() -> dict[str, Case]:
    cases = {}
    for value in NUMBERS:
        for name in numeric_settings():
            if name not in ALLOWED.get(value, ()):
                cases[f"{name} {value}"] = Case([*TRAIN, f"--{name}={value}"], (name,))
        for name in METHOD_NUMBERS:
            if name not in ALLOWED.get(f"method.{value}", ()):
                cases[f"method.{name} {value}"] = Case([*TRAIN, f"--method.{name}={value}"], (f"method.{name}",))
    return cases


# What the cases find in their folder.


def images(
    root: Path, domains: tuple[str, ...] = ("a", "b", "c"), classes: tuple[str, ...] = ("x", "y"), count: int = 4
) -> None:
    random = np.random.default_rng(0)
    for domain in domains:
        for name in classes:
            (root / domain / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                Image.fromarray(random.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(
                    root / domain / name / f"{number}.png"
                )


def folder(**options: Any) -> Callable[[Path], None]:
    return lambda here: images(here / "images", **options)


def file(name: str, content: bytes | str = b"") -> Callable[[Path], None]:
    def make(here: Path) -> None:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def both(*makers: Callable[[Path], None]) -> Callable[[Path], None]:
    def make(here: Path) -> None:
        for maker in makers:
            maker(here)

    return make


class RunsCode:
    """What an attacker would put into a file of weights."""

    def __reduce__(self) -> Any:
        return os.system, ("touch it-ran",)


def weights(**changes: Any) -> Callable[[Path], None]:
    def make(here: Path) -> None:
        state = build_backbone("small", 10).state_dict()
        torch.save({**state, **changes}, here / "weights.pth")

    return make


def poisoned_pickle(here: Path) -> None:
    (here / "weights.pth").write_bytes(pickle.dumps(RunsCode()))


def poisoned_checkpoint(here: Path) -> None:
    finished(here)
    buffer = io.BytesIO()
    torch.save({"schema": 1, "method": RunsCode()}, buffer)
    (here / "run" / "checkpoints" / "last.ckpt").write_bytes(buffer.getvalue())
    (here / "run" / "results.json").unlink()


def finished(here: Path) -> None:
    shutil.copytree(FINISHED[0], here / "run")


FINISHED: list[Path] = []


def unfinished(change: Callable[[Path], Any]) -> Callable[[Path], None]:
    """Take a run that has all but its results, and change something in its folder."""

    def make(here: Path) -> None:
        finished(here)
        (here / "run" / "results.json").unlink()
        change(here / "run")

    return make


def changed_json(name: str, **changes: Any) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        content = json.loads((run / name).read_text()) | changes
        (run / name).write_text(json.dumps(content))

    return change


def cut(name: str, share: float = 0.5) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        data = (run / name).read_bytes()
        (run / name).write_bytes(data[: int(len(data) * share)])

    return change


def link(name: str, to: str) -> Callable[[Path], None]:
    return lambda here: (here / name).symlink_to(to)


def manifest(*rows: str, header: str = "path,label,domain") -> Callable[[Path], None]:
    return file("list.csv", "\n".join([header, *rows, ""]))


def grouped(here: Path) -> None:
    rows = [
        f"{path.relative_to(here)},{path.parts[-2]},{path.parts[-3]},{'anna' if path.name == '0.png' else path.stem + path.parts[-3]}"
        for path in sorted((here / "images").rglob("*.png"))
    ]
    manifest(*rows, header="path,label,domain,group")(here)


def pacs(here: Path) -> None:
    for domain in DOMAINS:
        images(here / "pacs", (domain,), CLASSES, 2)
        lines = [f"{domain}/{name}/0.png {label}" for label, name in enumerate(CLASSES, 1)]
        file(f"pacs/splits/{domain}_train_kfold.txt", "\n".join(lines))(here)
        lines = [line.replace("/0.png", "/1.png") for line in lines]
        file(f"pacs/splits/{domain}_crossval_kfold.txt", "\n".join(lines))(here)
    file("pacs/splits/photo_train_kfold.txt", "photo/dog/1.png 8")(here)


IMAGES = [
    "train",
    "--dataset",
    "images",
    "--target",
    "a",
    "--backbone",
    "small",
    "--weights",
    "none",
    "--size",
    "16",
]
IMAGES += ["--out", "run", "--device", "cpu", "--fast"]
RESUME = ["train", "--resume", "--out", "run"]
WEIGHTS = [*TRAIN, "--backbone", "small", "--weights"]

CASES: dict[str, Case] = {
    # Names.
    "command": Case(["tarin"], ("tarin", "train")),
    "flag": Case([*TRAIN, "--epoch", "3"], ("--epoch", "--epochs")),
    "dataset": Case([*TRAIN, "--dataset", "digitz"], ("digitz", "digits")),
    "tag that its value does not fit": Case([*TRAIN, "--config", "a.yaml"], ("a.yaml", "line 1", "'foo'", "!!bool"), file("a.yaml", "lr: !!bool foo")),
    "domain": Case([*TRAIN, "--target", "mosiac"], ("mosiac", "mosaic")),
    "method": Case([*TRAIN, "--method", "dmgg"], ("dmgg", "dmg")),
    "method setting": Case([*TRAIN, "--method.overlap", "1"], ("method.overlap",)),
    "setting of another method": Case([*TRAIN, "--method", "aggregate", "--method.overlap_weight", "1"], ("overlap_weight",)),
    "backbone": Case([*TRAIN, "--backbone", "resnet19"], ("resnet19", "resnet18")),
    "backbone of timm": Case([*TRAIN, "--backbone", "timm:resnet_18", "--weights", "none"], ("resnet_18", "timm:resnet18")),
    "backbone's library": Case([*TRAIN, "--backbone", "tim:resnet18"], ("tim", "timm")),
    "site": Case([*TRAIN, "--sites", "classifier.hiden"], ("classifier.hiden", "classifier.hidden")),
    "site twice": Case([*TRAIN, "--sites", "classifier.head", "classifier.head"], ("classifier.head", "twice")),
    "boundary": Case([*TRAIN, "--boundary", "features.99"], ("features.99", "boundary")),
    "augmentation": Case([*TRAIN, "--augmentation", "digit"], ("digit", "digits")),
    "optimizer": Case([*TRAIN, "--optimizer", "adamv"], ("optimizer", "adamv", "adamw")),
    "policy of augmentation": Case([*TRAIN, "--auto_augment", "rand"], ("auto_augment", "rand", "randaugment")),
    "learning rate in words": Case([*TRAIN, "--lr", "high"], ("lr", "high", "auto")),
    "logger": Case([*TRAIN, "--logger", "comet"], ("logger", "comet", "wandb")),
    "logger and none": Case([*TRAIN, "--logger", "none", "tensorboard"], ("logger", "none alone")),
    "warm-up without end": Case([*TRAIN[:3], "--epochs", "3", "--warmup_epochs", "3"], ("warmup_epochs", "3 epochs")),
    "frozen for ever": Case([*TRAIN[:3], "--epochs", "3", "--freeze_epochs", "3"], ("freeze_epochs", "3 epochs", "freeze_features")),
    "unfrozen too late": Case(
        [*TRAIN[:3], "--epochs", "3", "--freeze_epochs", "1", "--unfreeze_every", "2"],
        ("unfreeze_every", "3 layers", "epoch 6", "got 3"),
    ),
    "device mps": Case(["train", "--out", "run", "--device", "mps", "--precision", "bf16"], ("precision", "mps", "single precision")),
    "schedule": Case([*TRAIN, "--schedule", "cosin"], ("schedule", "cosin")),
    "sampling": Case([*TRAIN, "--sampling", "equal"], ("sampling", "equal")),
    "precision": Case([*TRAIN, "--precision", "8"], ("precision", "8")),
    "device": Case(["train", "--out", "run", "--device", "gpu"], ("device", "gpu")),
    "class weights": Case([*TRAIN, "--class_weights", "equal"], ("class_weights", "equal")),
    "learn": Case([*TRAIN, "--learn", "mask"], ("learn", "mask")),
    "selection": Case([*TRAIN, "--selection", "oracle"], ("selection", "oracle")),
    "several mistakes": Case([*TRAIN, "--lr", "0", "--epochs", "x", "--sampling", "y"], ("3 settings", "lr", "epochs", "sampling")),
    # Held-out domains.
    "held-out domain of another dataset": Case([*TRAIN, "--target", "sketch"], ("sketch", "mosaic")),
    "held-out domain twice": Case([*TRAIN, "--target", "ink,ink"], ("ink", "once")),
    "one source only": Case([*TRAIN, "--target", "ink,paper,outline"], ("two source domains", "mosaic")),
    "no source": Case([*TRAIN, "--target", "ink,paper,outline,mosaic"], ("two source domains",)),
    "no held-out domain": Case(
        ["train", "--dataset", "images", "--out", "run"], ("--target", "a, b, c"), folder()
    ),
    # Folders.
    "empty folder": Case(IMAGES, ("images", "domain"), lambda here: (here / "images").mkdir()),
    "no folder": Case([*IMAGES, "--dataset", "./nowhere"], ("nowhere", "does not exist")),
    "file for a dataset": Case([*IMAGES, "--dataset", "./file"], ("file",), file("file")),
    "images at the top": Case(IMAGES, ("images", "0.png"), both(folder(), lambda here: shutil.copy(here / "images/a/x/0.png", here / "images/0.png"))),
    "images without a class": Case(IMAGES, ("a/0.png",), both(folder(), lambda here: shutil.copy(here / "images/a/x/0.png", here / "images/a/0.png"))),
    "one domain": Case(IMAGES, ("two source domains",), folder(domains=("a",))),
    "two domains": Case(IMAGES, ("two source domains",), folder(domains=("a", "b"))),
    "domain without images": Case(IMAGES, ("no image", "'c'"), both(folder(), lambda here: [path.unlink() for path in (here / "images" / "c").rglob("*.png")])),
    "domain without classes": Case(IMAGES, ("'d'",), both(folder(), lambda here: (here / "images" / "d").mkdir())),
    "too few images": Case(IMAGES, ("no validation images",), folder(count=1)),
    "no dataset of that name here": Case([*TRAIN, "--dataset", "pacs", "--root", "."], ("PACS", "art_painting")),
    "no root": Case([*TRAIN, "--dataset", "pacs"], ("pacs", "DMG_DATA")),
    "root is a file": Case([*TRAIN, "--dataset", "pacs", "--root", "file"], ("file",), file("file")),
    "unreadable image": Case(IMAGES, ("b/x/0.png", "cannot be read"), both(folder(), file("images/b/x/0.png", "no image"))),
    "truncated image": Case(IMAGES, ("b/x/0.png",), both(folder(), cut("images/b/x/0.png"))),
    "empty image": Case(IMAGES, ("b/x/0.png",), both(folder(), file("images/b/x/0.png"))),
    "broken link": Case([*IMAGES, "--dataset", "./link"], ("link", "does not exist"), link("link", "nowhere")),
    "loop of links": Case([*IMAGES, "--dataset", "./link"], ("link",), both(link("link", "other"), link("other", "link"))),
    "loop of links for the run": Case([*TRAIN, "--out", "link/run"], ("link",), both(link("link", "other"), link("other", "link"))),
    "name with a newline": Case([*TRAIN, "--dataset", "./no\nwhere"], ("nowhere".replace("now", "no\\nw"),)),
    "name of 256 characters": Case([*TRAIN, "--dataset", "./" + "n" * 256], ("n" * 40,)),
    "run folder of 256 characters": Case([*TRAIN, "--out", "n" * 256], ("n" * 40, "--out")),
    "name with a null": Case([*TRAIN, "--dataset", "./null\0"], ("null",)),
    "run folder with a null": Case([*TRAIN, "--out", "null\0"], ("null",)),
    # Weights.
    "weights that are not there": Case([*WEIGHTS, "weights.pth"], ("weights.pth", "no such file")),
    "weights that are a folder": Case([*WEIGHTS, "weights.pth"], ("weights.pth",), lambda here: (here / "weights.pth").mkdir()),
    "weights that would run code": Case([*WEIGHTS, "weights.pth"], ("weights.pth", "code"), poisoned_pickle),
    "weights that are text": Case([*WEIGHTS, "weights.pth"], ("weights.pth",), file("weights.pth", "text")),
    "weights of another kind": Case([*WEIGHTS, "weights.pth"], ("weights.pth",), lambda here: torch.save([1, 2], here / "weights.pth")),
    "truncated weights": Case([*WEIGHTS, "weights.pth"], ("weights.pth", "truncated"), both(weights(), cut("weights.pth"))),
    "empty weights": Case([*WEIGHTS, "weights.pth"], ("weights.pth",), file("weights.pth")),
    "truncated safetensors": Case([*WEIGHTS, "weights.safetensors"], ("weights.safetensors", "truncated"), both(lambda here: save_file({"a": torch.ones(99)}, here / "weights.safetensors"), cut("weights.safetensors"))),
    "weights of another architecture": Case([*TRAIN, "--backbone", "mobilenet_v2", "--size", "32", "--weights", "weights.pth"], ("weights.pth", "MobileNetV2"), weights()),
    "weights of another shape": Case([*WEIGHTS, "weights.pth"], ("another shape", "classifier.hidden.weight"), weights(**{"classifier.hidden.weight": torch.ones(3, 3)})),
    "weights with a foreign tensor": Case([*WEIGHTS, "weights.pth"], ("unknown to the network", "odd"), weights(odd=torch.ones(1))),
    "no ImageNet weights": Case([*WEIGHTS, "imagenet"], ("small", "ImageNet")),
    "cuda where there is none": Case(["train", "--out", "run", "--device", "cuda"], ("cuda", "cpu")),
    "half precision on a CPU": Case([*TRAIN, "--precision", "16"], ("precision", "GPU")),
    # Run folders.
    "occupied": Case(TRAIN, ("run", "--overwrite"), file("run/notes.txt")),
    "occupied by a run": Case(TRAIN, ("finished run", "--overwrite"), finished),
    "run folder is a file": Case(TRAIN, ("run is a file",), file("run")),
    "run folder below a file": Case([*TRAIN, "--out", "file/run"], ("file is a file",), file("file")),
    "nothing to resume": Case(RESUME, ("run", "does not exist")),
    "resume without a folder": Case(["train", "--resume"], ("--out",)),
    "resume and overwrite": Case([*TRAIN, "--resume", "--overwrite"], ("--resume", "--overwrite"), finished),
    "resume with other settings": Case([*RESUME, "--lr", "0.5"], ("lr", "0.5", "other settings"), unfinished(lambda run: None)),
    "resume with another method": Case([*RESUME, "--method", "aggregate"], ("method", "other settings"), unfinished(lambda run: None)),
    "truncated checkpoint": Case(RESUME, ("last.ckpt", "--overwrite"), unfinished(cut("checkpoints/last.ckpt"))),
    "empty checkpoint": Case(RESUME, ("last.ckpt",), unfinished(cut("checkpoints/last.ckpt", 0))),
    "checkpoint that would run code": Case(RESUME, ("last.ckpt",), poisoned_checkpoint),
    "checkpoint of something else": Case(RESUME, ("last.ckpt", "no checkpoint"), unfinished(lambda run: torch.save({"a": 1}, run / "checkpoints/last.ckpt"))),
    "checkpoint without its parts": Case(RESUME, ("last.ckpt", "method"), unfinished(lambda run: torch.save({"schema": 2}, run / "checkpoints/last.ckpt"))),
    "newer checkpoint": Case(RESUME, ("last.ckpt", "newer", "99"), unfinished(lambda run: torch.save({"schema": 99}, run / "checkpoints/last.ckpt"))),
    "half deleted run": Case(["evaluate", "run"], ("run", "no run"), unfinished(lambda run: (run / "config.yaml").unlink())),
    "run without checkpoints": Case(["evaluate", "run"], ("last.ckpt", "missing"), unfinished(lambda run: shutil.rmtree(run / "checkpoints"))),
    "run with a broken table": Case(RESUME, ("metrics.csv",), unfinished(lambda run: (run / "metrics.csv").write_text('epoch\n"1'))),
    "run of a newer version": Case(RESUME, ("config.yaml", "99", "newer"), unfinished(lambda run: (run / "config.yaml").write_text("schema: 99"))),
    "evaluation of nothing": Case(["evaluate", "nowhere"], ("nowhere", "no run")),
    "evaluation of a file": Case(["evaluate", "file"], ("file",), file("file")),
    "evaluation without a run": Case(["evaluate"], ("RUN",)),
    "start from nothing": Case([*TRAIN, "--init_from", "nowhere"], ("--init_from", "nowhere")),
    "start from an unfinished run": Case([*TRAIN, "--out", "new", "--init_from", "run"], ("--init_from", "model.json"), unfinished(lambda run: (run / "model.json").unlink())),
    "start from a newer model": Case([*TRAIN, "--out", "new", "--init_from", "run"], ("model.json", "99"), unfinished(changed_json("model.json", format=99))),
    "start from half a model": Case([*TRAIN, "--out", "new", "--init_from", "run"], ("model.safetensors",), unfinished(cut("model.safetensors"))),
    "start from another backbone": Case([*TRAIN, "--out", "new", "--init_from", "run", "--backbone", "resnet18"], ("resnet18", "small"), finished),
    "held-out domain that was trained on": Case([*TRAIN, "--out", "new", "--init_from", "run", "--target", "ink"], ("'ink'", "trained on"), finished),
    "masks of a method without masks": Case([*TRAIN, "--out", "new", "--init_from", "run", "--method", "aggregate", "--learn", "masks"], ("masks", "aggregate"), finished),
    "masks without a trained network": Case([*TRAIN, "--learn", "masks"], ("learn", "init_from")),
    "analysis of nothing": Case(["analyze", "nowhere"], ("nowhere", "does not exist")),
    "analysis of a file": Case(["analyze", "file"], ("file", "is a file"), file("file")),
    "analysis without a run": Case(["analyze"], ("RUN",)),
    "analysis where no run is": Case(["analyze", "."], ("no run", "dmg train")),
    "analysis of an unfinished run": Case(["analyze", "run"], ("run", "not finished", "--resume"), unfinished(lambda run: None)),
    "analysis of a half-written run": Case(["analyze", "run"], ("results.json", "malformed"), both(finished, cut("run/results.json"))),
    "analysis of a newer run": Case(["analyze", "run"], ("results.json", "newer", "99"), both(finished, lambda here: changed_json("results.json", schema=99)(here / "run"))),
    "analysis without predictions": Case(["analyze", "run"], ("predictions.npz", "missing"), both(finished, lambda here: (here / "run" / "predictions.npz").unlink())),
    "analysis of half the predictions": Case(["analyze", "run"], ("predictions.npz", "dmg evaluate"), both(finished, cut("run/predictions.npz"))),
    "analysis with a dataset that is not there": Case(["analyze", "run", "--dataset", "./nowhere"], ("nowhere",), finished),
    "analysis of no images": Case(["analyze", "run", "--images", "0"], ("images", "'0'"), finished),
    "analysis of some images": Case(["analyze", "run", "--images", "some"], ("images", "'some'", "all"), finished),
    "analysis on a device": Case(["analyze", "run", "--device", "gpu"], ("device", "gpu"), finished),
    "analysis with a misspelt flag": Case(["analyze", "run", "--no_image"], ("--no_image", "--no_images"), finished),
    "analysis with a root that is a number": Case(["analyze", "run", "--config", "a.yaml"], ("root", "got 5"), both(finished, file("a.yaml", "root: 5"))),
    # Configurations.
    "configuration that is not there": Case([*TRAIN, "--config", "nowhere.yaml"], ("nowhere.yaml",)),
    "configuration that is a folder": Case([*TRAIN, "--config", "."], ("configuration", "'.'")),
    "configuration that is no YAML": Case([*TRAIN, "--config", "a.yaml"], ("a.yaml", "YAML"), file("a.yaml", "a: [")),
    "configuration that is a list": Case([*TRAIN, "--config", "a.yaml"], ("a.yaml", "list"), file("a.yaml", "- lr")),
    "configuration in Latin 1": Case([*TRAIN, "--config", "a.yaml"], ("a.yaml",), file("a.yaml", "dataset: fotos-für-ärzte".encode("latin-1"))),
    "configuration of a newer version": Case([*TRAIN, "--config", "a.yaml"], ("a.yaml", "99"), file("a.yaml", "schema: 99")),
    "misspelt key": Case([*TRAIN, "--config", "a.yaml"], ("epoch", "epochs"), file("a.yaml", "epoch: 3")),
    "misspelt key of a method": Case([*TRAIN, "--config", "a.yaml"], ("overlap_wieght", "overlap_weight"), file("a.yaml", "method: {name: dmg, overlap_wieght: 1}")),
    "method without a name": Case([*TRAIN, "--config", "a.yaml"], ("method", "name"), file("a.yaml", "method: {overlap_weight: 1}")),
    "configuration of the wrong types": Case([*TRAIN, "--config", "a.yaml"], ("lr", "epochs"), file("a.yaml", "lr: [1]\nepochs: {a: 1}")),
    # Values.
    "flag without a value": Case([*TRAIN, "--lr"], ("--lr",)),
    "method flag without a value": Case([*TRAIN, "--method.overlap_weight"], ("--method.overlap_weight",)),
    "time in words": Case([*TRAIN, "--max_time", "an hour"], ("max_time", "an hour")),
    "half an epoch": Case([*TRAIN, "--epochs", "0.5"], ("epochs", "0.5")),
    "size that the network refuses": Case([*TRAIN, "--size", "2"], ("2x2",)),
    "size beyond memory": Case([*TRAIN, "--size", "99999999"], ("size",)),

    # Other commands.
    "benchmark's seeds": Case(["benchmark", "--seeds", "one"], ("seeds", "'one'")),
    "benchmark's seed twice": Case(["benchmark", "--seeds", "1", "1"], ("seed", "twice")),
    "benchmark's target": Case(["benchmark", "--targets", "inkk"], ("inkk", "ink")),
    "benchmark's method": Case(["benchmark", "--methods", "dmg", "agregate"], ("agregate", "aggregate")),
    "benchmark's folder": Case(["benchmark", "--out", "file"], ("file",), file("file")),
    "benchmark's sweep": Case(["benchmark", "--sweep", "lr"], ("--sweep lr=1e-4,1e-3",)),
    "benchmark's swept name": Case(["benchmark", "--sweep", "method.overlap_wieght=0,1"], ("overlap_wieght", "method.overlap_weight")),
    "benchmark's swept values": Case(["benchmark", "--sweep", "lr=1e-4,fast", "epochs=0,1"], ("2 settings", "'fast'", "epochs")),
    "benchmark's seeds swept": Case(["benchmark", "--sweep", "seed=0,1"], ("--seeds",)),
    "benchmark's variant": Case(["benchmark", "--variants", "optimizer"], ("--variants", "'optimizer'")),
    "benchmark's variants that contradict": Case(["benchmark", "--variants", "optimizer=adam,momentum=0.5"], ("momentum", "adam")),
    "benchmark's sweep in YAML": Case(["benchmark", "--config", "a.yaml"], ("sweep lr", "expected values"), file("a.yaml", "sweep: {lr: []}")),
    "benchmark's rule": Case(["benchmark", "--select", "orcale"], ("orcale", "oracle", "source-validation")),
    "rule that leaves one source": Case(["benchmark", *IMAGES[1:3], *IMAGES[5:11], "--targets", "a", "--sweep", "lr=0.1,0.2", "--select", "leave-one-domain-out"], ("leave-one-domain-out", "two or more"), folder()),
    "benchmark's jobs": Case(["benchmark", "--jobs", "0"], ("jobs", "'0'")),
    "benchmark's launcher": Case(["benchmark", "--launcher", "slurm", "--lr", "0"], ("2 settings", "'local' or 'ray'", "lr")),
    "address without a cluster": Case(["benchmark", "--ray_address", "auto"], ("ray_address", "--launcher ray")),
    "sweep of one run": Case([*TRAIN, "--config", "a.yaml"], ("sweep", "benchmark"), file("a.yaml", "sweep: {lr: [1]}")),
    "action on data": Case(["data", "lists"], ("lists", "list")),
    "no action on data": Case(["data"], ("list",)),
    "data of nothing": Case(["data", "list", "./nowhere"], ("nowhere",)),
    "method to show": Case(["methods", "dgm"], ("dgm", "dmg")),
    # Manifests.
    "no manifest": Case([*IMAGES, "--dataset", "list.csv"], ("list.csv",)),
    "empty manifest": Case([*IMAGES, "--dataset", "list.csv"], ("list.csv",), file("list.csv")),
    "manifest without rows": Case([*IMAGES, "--dataset", "list.csv"], ("list.csv",), file("list.csv", "path,label,domain\n")),
    "manifest without a column": Case([*IMAGES, "--dataset", "list.csv"], ("list.csv", "domain"), file("list.csv", "path,label,domian\na,b,c\n")),
    "manifest with an unknown split": Case([*IMAGES, "--dataset", "list.csv"], ("list.csv", "dev2"), both(folder(), manifest("a/x/0.png,x,a,dev2", header="path,label,domain,split"))),
    "manifest of images that are not there": Case([*IMAGES, "--dataset", "list.csv"], ("gone.png",), both(folder(), manifest("gone.png,x,a"))),
    "manifest with two labels for an image": Case([*IMAGES, "--dataset", "list.csv"], ("a/x/0.png",), both(folder(), manifest("images/a/x/0.png,x,a", "images/a/x/0.png,y,a"))),
    "manifest with an empty cell": Case([*IMAGES, "--dataset", "list.csv"], ("list.csv", "label"), both(folder(), manifest("images/a/x/0.png,,a"))),
    "manifest that is no text": Case([*IMAGES, "--dataset", "list.csv"], ("list.csv",), file("list.csv", bytes(range(256)))),
    "manifest that is no Parquet": Case([*IMAGES, "--dataset", "list.parquet"], ("list.parquet",), file("list.parquet", "text")),
    "manifest that is a folder": Case([*IMAGES, "--dataset", "list.csv"], ("list.csv",), lambda here: (here / "list.csv").mkdir()),
    "group in a source and in the held-out domain": Case([*IMAGES, "--dataset", "list.csv"], ("anna", "held out"), both(folder(count=9), grouped)),
    "label outside the classes": Case([*TRAIN, "--dataset", "pacs", "--root", ".", "--target", "sketch"], ("photo_train_kfold.txt", "1 to 7", "photo/dog/1.png 8"), pacs),
    "missing Hugging Face dataset": Case([*IMAGES, "--dataset", "hf:./nowhere"], ("nowhere",)),
    "held-out domain without images": Case([*IMAGES, "--target", "c"], ("'c'", "no image"), both(folder(), lambda here: [path.unlink() for path in (here / "images" / "c").rglob("*.png")])),
    "every image of a domain unreadable": Case([*IMAGES, "--skip_bad"], ("domain 'c'",), both(folder(), lambda here: [path.write_bytes(b"") for path in (here / "images" / "c").rglob("*.png")])),
    # Contradictions.
    "momentum of Adam": Case([*TRAIN, "--momentum", "0.5"], ("momentum", "adam")),
    "views without frozen features": Case([*TRAIN, "--views", "8"], ("views", "freeze_features")),
    "decay of another schedule": Case([*TRAIN, "--schedule", "cosine", "--schedule_decay", "0.5"], ("schedule_decay", "cosine")),
    "rate of masks without masks": Case([*TRAIN, "--method", "aggregate", "--lr_masks", "0.1"], ("lr_masks", "aggregate")),
    "sites without masks": Case([*TRAIN, "--method", "aggregate", "--sites", "classifier.head"], ("sites", "aggregate")),
    "leave out without looking": Case([*TRAIN, "--skip_bad", "--no_verify"], ("skip_bad", "verify")),
    "fewer images than devices": Case([*TRAIN, "--batch", "2", "--devices", "3"], ("batch", "3 devices")),
    "known domain that is held out": Case(["evaluate", "run", "--ensemble", "known:mosaic"], ("mosaic", "held out"), finished),
    "known domain that is not there": Case(["evaluate", "run", "--ensemble", "known:inc"], ("inc", "ink"), finished),
    "ensemble that is not there": Case(["evaluate", "run", "--ensemble", "prediction"], ("prediction", "predictions"), finished),
    "decay of masks that stay": Case([*TRAIN, "--out", "new", "--init_from", "run", "--learn", "masks", "--weight_decay", "0.1"], ("weight_decay", "masks"), finished),
    "method for a benchmark in one run": Case([*TRAIN, "--config", "a.yaml"], ("methods", "benchmark"), file("a.yaml", "methods: [dmg, aggregate]")),
    # Data.
    "check of nothing": Case(["data", "check", "./nowhere"], ("nowhere",)),
    "check without a name": Case(["data", "check"], ("dataset",)),
    "check of a file": Case(["data", "check", "./file"], ("file",), file("file")),
    "check into another format": Case(["data", "check", "images", "--out", "report.txt"], (".json", ".csv"), folder()),
    "download of nothing": Case(["data", "download", "pasc", "--root", "."], ("pasc", "pacs")),
    "download to nowhere": Case(["data", "download", "pacs"], ("--root", "DMG_DATA")),
    "download into a file": Case(["data", "download", "pacs", "--root", "file", "--url", "http://127.0.0.1:9/"], ("file",), file("file")),
    "list with a root that is a number": Case(["data", "list", "--config", "a.yaml"], ("root", "got 5"), file("a.yaml", "dataset: pacs\nroot: 5")),
    "list with a root that is a list": Case(["data", "list", "pacs", "--config", "a.yaml"], ("root", "got ['a']"), file("a.yaml", "root: [a]")),
    "list of several datasets": Case(["data", "list", "--config", "a.yaml"], ("dataset", "got ['pacs', 'vlcs']"), file("a.yaml", "dataset: [pacs, vlcs]")),
    "download with a root that is a number": Case(["data", "download", "pacs", "--config", "a.yaml"], ("root", "got 5"), file("a.yaml", "root: 5")),
    "download with a root that is a list": Case(["data", "download", "--config", "a.yaml"], ("root", "got ['a']"), file("a.yaml", "dataset: pacs\nroot: [a]")),
    "download into a variable that is not set": Case(["data", "download", "pacs", "--root", ""], ("root", "expected a folder")),
    "check with a root that is a list": Case(["data", "check", "pacs", "--config", "a.yaml"], ("root", "got ['a']"), file("a.yaml", "root: [a]")),
    "cache with a misspelt flag": Case(["data", "cache", "--claer"], ("--claer", "--clear")),
    "clearing with a misspelt flag": Case(["data", "cache", "--clear", "--quite"], ("--quite", "--quiet")),
    "clearing for a dataset": Case(["data", "cache", "--clear", "--dataset", "digits"], ("--clear", "--dataset")),
    "clearing for a dataset, and two mistakes more": Case(["data", "cache", "--clear", "feature", "--dataset", "digits", "--quite"], ("--clear", "'features'", "--dataset", "--quiet")),
    "cache with settings of nothing": Case(["data", "cache", "--freeze_features"], ("freeze_features", "--dataset")),
    # Predicting.
    "export without a model": Case(["export"], ("model", "run folder")),
    "export of nothing": Case(["export", "nowhere", "--format", "pt2"], ("nowhere", "no model")),
    "export of a folder without a model": Case(["export", "images"], ("images", "model.safetensors"), folder()),
    "export of a checkpoint": Case(["export", "run/checkpoints/best.ckpt"], ("best.ckpt", "code"), finished),
    "export in an unknown format": Case(["export", "run", "--format", "onxx"], ("format", "onxx", "'onnx'"), finished),
    "export with two mistakes": Case(["export", "run", "--opset", "new", "--prune", "2", "--haff"], ("3 settings", "opset", "prune", "--half"), finished),
    "export of an ensemble that is not there": Case(["export", "run", "--ensemble", "mask"], ("'mask'", "'masks'"), finished),
    "export of a held-out domain's mask": Case(["export", "run", "--ensemble", "known:mosaic"], ("mosaic", "held out"), finished),
    "export of several masks, pruned": Case(["export", "run", "--ensemble", "predictions", "--prune", "0.5"], ("prune", "predictions", "masks"), finished),
    "export with an opset of no ONNX": Case(["export", "run", "--format", "pt2", "--opset", "18"], ("opset", "pt2"), finished),
    "export with an old opset": Case(["export", "run", "--opset", "9"], ("opset", "18", "got 9"), finished),
    "export under another ending": Case(["export", "run", "--out", "model.pt2"], ("out", ".onnx"), finished),
    "export into a folder": Case(["export", "run", "--out", "a.onnx"], ("a.onnx", "folder"), lambda here: (here / "a.onnx").mkdir()),
    "export below a file": Case(["export", "run", "--format", "pt2", "--out", "file/a.pt2"], ("file/a.pt2", "cannot write"), both(finished, file("file"))),
    "export compared on no image": Case(["export", "run", "--images", "text.jpg"], ("text.jpg", "cannot be read"), both(finished, file("text.jpg", "text"))),
    "export compared on a dataset that is not there": Case(["export", "run", "--dataset", "./nowhere"], ("nowhere",), finished),
    "export compared on other classes": Case(["export", "run", "--dataset", "images"], ("images", "other classes"), both(finished, folder())),
    "export with a limit of no curve": Case(["export", "run", "--limit", "5"], ("limit", "prune"), finished),
    "curve without labels": Case(["export", "run", "--prune", "0.5", "0.6", "--images", "a.png"], ("images", "labels"), finished),
    "curve without a dataset": Case(["export", "run", "--prune", "0.5", "0.6"], ("config.yaml", "--dataset"), both(finished, lambda here: (here / "run" / "config.yaml").unlink())),
    "curve into a model": Case(["export", "run", "--prune", "0.5", "0.6", "--out", "a.onnx"], ("out", ".csv"), finished),
    "export by a misspelt name": Case(["export", "--config", "a.yaml"], ("ensembel", "ensemble"), both(finished, file("a.yaml", "model: run\nensembel: masks"))),
    "predict without anything": Case(["predict"], ("2 settings", "model", "images")),
    "predict without images": Case(["predict", "run"], ("images",), finished),
    "predict with nothing": Case(["predict", "run", "empty"], ("no image", "'empty'", "without images"), both(finished, lambda here: (here / "empty").mkdir())),
    "predict what matches nothing": Case(["predict", "run", "*.gif"], ("no image", "'*.gif'"), finished),
    "predict without a model": Case(["predict", "nowhere", "a.png"], ("nowhere", "no model")),
    "predict with a folder without a model": Case(["predict", "images", "a.png"], ("images", "model.safetensors"), folder()),
    "predict with a checkpoint": Case(["predict", "run/checkpoints/best.ckpt", "a.png"], ("best.ckpt", "code", "'run'"), finished),
    "predict with weights alone": Case(["predict", "weights.pth", "a.png"], ("weights.pth", "code"), poisoned_pickle),
    "predict with a pickle for weights": Case(["predict", "run", "a.png"], ("model.safetensors", "code"), both(finished, lambda here: (here / "run" / "model.safetensors").write_bytes(pickle.dumps(RunsCode())))),
    "predict with truncated weights": Case(["predict", "run", "a.png"], ("model.safetensors", "cannot be read"), both(finished, lambda here: cut("model.safetensors")(here / "run"))),
    "predict with a truncated card": Case(["predict", "run", "a.png"], ("model.json", "malformed"), both(finished, lambda here: cut("model.json")(here / "run"))),
    "predict with a newer model": Case(["predict", "run", "a.png"], ("model.json", "newer", "99"), both(finished, lambda here: changed_json("model.json", format=99)(here / "run"))),
    "predict with a model of nothing": Case(["predict", "run", "a.png"], ("model.json", "classes", "sites"), both(finished, lambda here: changed_json("model.json", classes=10**9, sites="all")(here / "run"))),
    "predict with an ensemble that is not there": Case(["predict", "run", "a.png", "--ensemble", "mask"], ("'mask'", "'masks'"), finished),
    "predict with a held-out domain's mask": Case(["predict", "run", "a.png", "--ensemble", "known:mosaic"], ("mosaic", "held out"), finished),
    "predict into another format": Case(["predict", "run", "a.png", "--out", "a.txt"], ("out", ".jsonl"), finished),
    "predict into a folder": Case(["predict", "run", "a.png", "--out", "a.csv"], ("a.csv", "folder"), both(finished, lambda here: (here / "a.csv").mkdir())),
    "predict below a file": Case(["predict", "run", "images", "--out", "file/a.csv", "--device", "cpu"], ("file/a.csv", "cannot write"), both(finished, folder(), file("file"))),
    "predict into one file twice": Case(["predict", "run", "a.png", "--out", "a.csv", "--errors", "./a.csv"], ("out and errors", "a.csv"), finished),
    "predict with a misspelt flag": Case(["predict", "run", "a.png", "--ensembel", "masks"], ("--ensembel", "--ensemble"), finished),
    "predict a number of classes": Case(["predict", "run", "a.png", "--top", "0"], ("top", "'0'"), finished),
    "predict on a device that is not there": Case(["predict", "run", "a.png", "--device", "gpu"], ("device", "gpu"), finished),
    "predict by a misspelt name": Case(["predict", "--config", "a.yaml"], ("ensembel", "ensemble"), both(finished, file("a.yaml", "model: run\npaths: a.png\nensembel: masks"))),
    "predict one list twice": Case(["predict", "run", "-", "-"], ("standard input", "twice"), finished),
    # Reports.
    "report of nothing": Case(["report"], ("DIR",)),
    "report of a folder that is not there": Case(["report", "nowhere"], ("nowhere", "does not exist")),
    "report of a file": Case(["report", "file"], ("file", "is a file"), file("file")),
    "report of a folder without runs": Case(["report", "."], ("no run", "dmg train")),
    "report by an unknown rule": Case(["report", "run", "--select", "orcale"], ("orcale", "oracle", "source-validation"), finished),
    "report into a file": Case(["report", "run", "--out", "file"], ("file",), both(finished, file("file"))),
    "report into a file below": Case(["report", "run", "--out", "file/report"], ("file",), both(finished, file("file"))),
    "report to nowhere": Case(["report", "run", "--out", ""], ("out", "folder"), finished),
    "report with settings of another command": Case(["report", "--config", "a.yaml"], ("selct", "select", "gallery", "'yes'"), file("a.yaml", "runs: [run]\nselct: oracle\ngallery: 'yes'")),
    "report with a list that is none": Case(["report", "--config", "a.yaml"], ("runs", "got 5"), file("a.yaml", "runs: 5")),
    "report with a misspelt flag": Case(["report", "run", "--no_galery"], ("--no_galery", "--no_gallery"), finished),
    # The page.
    "push without a name": Case(["push", "run"], ("expected OWNER/NAME", "dmg push --help")),
    "push to a name without an owner": Case(["push", "run", "sketches"], ("expected OWNER/NAME", "'sketches'")),
    "push of nothing": Case(["push", "nowhere", "someone/sketches"], ("nowhere", "no model")),
    "push to a name that the Hub has not": Case(["push", "run", "some one/sketches", "--dry_run"], ("some one/sketches", "valid name"), finished),
    "demo of nothing": Case(["demo", "nowhere", "--port", "0"], ("nowhere", "no model")),
    "demo without a model": Case(["demo"], ("expected the model", "run folder")),
    "demo with a misspelt flag": Case(["demo", "run", "--prt", "0"], ("--prt", "--port")),
    "demo that is shared": Case(["demo", "run", "--share"], ("--share", "no such flag")),
    "demo's port in words": Case(["demo", "run", "--port", "http"], ("port", "'http'")),
    "demo's port that is too large": Case(["demo", "run", "--port", "65536"], ("port", "65535")),
    "demo on another machine's address": Case(["demo", "run", "--port", "0", "--host", "203.0.113.7"], ("203.0.113.7", "not an address of this machine"), finished),
    "demo's ensemble": Case(["demo", "run", "--port", "0", "--device", "cpu", "--ensemble", "mask"], ("mask", "masks"), finished),
    "demo without an example": Case(["demo", "run", "--port", "0", "--device", "cpu", "--examples", "nowhere.png"], ("examples", "nowhere.png"), finished),
    "demo's examples and root": Case(["demo", "run", "--examples", "a", "--root", "b"], ("examples", "root")),
    "demo that adapts": Case(["demo", "run", "--adapt", "tent"], ("adapt", "single ones", "dmg predict RUN PATH... --adapt tent")),
    "demo's views": Case(["demo", "run", "--tta", "crops"], ("tta", "flips+crops")),
    "demo's settings": Case(["demo", "--config", "a.yaml"], ("prt", "port", "model"), file("a.yaml", "prt: 1")),
    "shell": Case(["completion", "bahs"], ("bahs", "bash")),
}  # fmt: skip
