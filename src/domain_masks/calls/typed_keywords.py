"""The keywords of the calls, for editors and type checkers; written by ``tests/calls/test_typed_keywords.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

if TYPE_CHECKING:
    from torch import nn

Place: TypeAlias = str | PathLike[str]
"""A path, or another name of a dataset, of weights or of a model."""


class SharedKeywords(TypedDict, total=False):
    """Keywords: the settings that all runs of a benchmark share."""

    dataset: Place
    """a name from `dmg data list`, a folder domain/class/image, a manifest, or hf:NAME"""
    root: Place | None
    """the dataset's folder or its parent; of a manifest, the folder that its paths are relative to (default:
    $DMG_DATA)"""
    split_seed: int
    """seed of what is drawn for train/val/test splits that the dataset does not bring"""
    in_domain_test: Literal["official", "validation-half"]
    """in-domain test images: the dataset's own; or, where it has none, half of its validation images, drawn by
    split_seed, while the other half selects the epoch"""
    sampling: str
    """batches from all sources pooled, or with equal parts of every source"""
    augmentation: str | None
    """augmentation of training images: standard, pacs, digits or none (default: by dataset, shown by print_config)"""
    auto_augment: Literal["none", "randaugment", "trivialaugment"]
    """further random changes of training images, by torchvision's policy of that name"""
    random_erasing: float
    """probability that a rectangle of a training image is erased"""
    square: bool | None
    """squash images to a square instead of cropping the centre"""
    size: int | None
    """side of the input images in pixels (default: by dataset, shown by print_config)"""
    crop: float | None
    """fraction of the shorter side (of both sides, with square) that evaluation sees (default: as the weights need
    it)"""
    mean: float | Sequence[float] | None
    """mean of red, green and blue in [0, 1], subtracted from images (default: as the weights need it)"""
    std: float | Sequence[float] | None
    """standard deviation of red, green and blue in [0, 1], by which images are divided (default: as the weights need
    it)"""
    interpolation: Literal["bilinear", "bicubic"] | None
    """how images are resized (default: as the weights need it)"""
    resizing: Literal["once", "released-code"]
    """resize once, from the original; or as the released code does for DomainNet: squash to size, then enlarge"""
    value_range: str | tuple[float, float] | None
    """black and white level of images deeper than 8 bits; dataset: the sources' own range"""
    workers: int | None
    """processes that load images (default: by CPU cores)"""
    cache: Literal["none", "disk", "memory", "device"]
    """decode images once for all epochs: on disk, also for later runs; in memory; on disk and on the device"""
    verify: bool
    """decode every image once before a dataset's first training"""
    skip_bad: bool
    """leave out unreadable images instead of refusing to train"""
    plugin: str | Sequence[str]
    """a Python file or module with your own method, imported first; may be repeated"""
    weights: Place | None
    """pretrained weights: imagenet, none, or a .safetensors or .pth file (default: by dataset, shown by print_config)"""
    sites: str | Sequence[str]
    """mask sites: a preset (paper, last-stage, released-code, last-block) or module names"""
    boundary: str | None
    """module where the task network begins (default: the first mask site)"""
    head_initialisation: Literal["default", "normal"] | None
    """initialisation of the last layer: PyTorch's default, or normal with standard deviation 0.001 (default: by
    dataset, shown by print_config)"""
    freeze_features: bool
    """train the task network alone, on features that are computed once"""
    views: int
    """augmented views per image that are cached as frozen features"""
    freeze_epochs: int
    """freeze the layers below boundary, their batch norm too, for the first epochs; then train all layers"""
    unfreeze_every: int
    """after freeze_epochs, train one more layer below boundary every so many epochs, from the last to the first; 0:
    all at once"""
    init_from: Place | None
    """run folder whose trained network and masks initialise this run"""
    learn: Literal["all", "masks"]
    """train all parameters, or the masks alone: with init_from, those of new source domains, if there are any"""
    recipe: str
    """named settings that count where nothing else is given; paper: the paper's, which are the defaults; short: for
    some ten epochs, an average of the weights"""
    class_weights: Literal["none", "balanced"]
    """class weights in the loss; balanced: inverse to the number of training images"""
    label_smoothing: float
    """share of the labels that is spread over all classes in the loss"""
    epochs: int | None
    """passes over the training images (default: by dataset, shown by print_config)"""
    batch: int | Literal["auto"]
    """batch size over all processes; auto: as many images as fit into memory"""
    optimizer: Literal["adam", "sgd", "adamw"]
    """optimizer"""
    lr: float | Literal["auto"] | None
    """learning rate; auto: found by a range test before the training (default: by dataset, shown by print_config)"""
    lr_head: float | None
    """learning rate of the last layer (default: lr)"""
    lr_masks: float | None
    """learning rate of the mask logits (default: lr)"""
    layer_decay: float
    """factor of the learning rate from each layer or block to the one below it"""
    momentum: float
    """momentum of sgd"""
    weight_decay: float | None
    """weight decay: L2, or adamw's own (default: by dataset, shown by print_config)"""
    schedule: str | None
    """learning rate schedule: constant; exponential (times decay); inverse, 1/(1 + gamma t)^power; cosine (default:
    by dataset, shown by print_config)"""
    schedule_masks: str
    """schedule of the mask logits: the same, or another one with the same unit and numbers"""
    schedule_unit: Literal["epoch", "step"]
    """what the schedule counts"""
    schedule_decay: float
    """factor of the exponential schedule"""
    schedule_gamma: float
    """gamma of the inverse schedule"""
    schedule_power: float
    """power of the inverse schedule"""
    warmup_epochs: int
    """epochs in which the learning rate rises linearly from 0, step by step; the schedule follows on them"""
    clip: float | None
    """largest norm of the gradient"""
    accumulate: int
    """batches per optimizer step (gradient accumulation)"""
    average: Literal["none", "ema", "swa", "swad"]
    """average the weights over the steps; the model has the averaged weights"""
    average_decay: float | None
    """decay of ema (default: 1 - 10 / steps, within 0.5 and 0.999)"""
    average_start: float
    """fraction of the steps after which swa starts to average"""
    average_interval: int | None
    """steps between two evaluations of the validation loss by swad (default: a fiftieth of all steps)"""
    average_patience: int
    """swad starts to average at the first of so many losses in a row of which none is lower"""
    average_overfit_patience: int
    """swad ends after so many losses in a row above its tolerance"""
    average_tolerance: float
    """tolerance of swad, as a multiple of the loss where averaging started"""
    recalibrate_bn: bool
    """before measuring, estimate batch norm's statistics in the upper layers again, under soft masks as predictions
    do"""
    patience: int | None
    """early stopping: end after so many epochs without improvement"""
    max_time: float | str | None
    """stop after the epoch that exceeds this time: 90s, 30m, 2h"""
    checkpoint_every: float | str
    """time between two checkpoints within an epoch: 90s, 10m, 1h"""
    logger: str | Sequence[str]
    """where metrics are logged besides the run folder's own files"""
    fast: bool
    """smoke test: one epoch of two batches, evaluated on a few images"""
    selection: Literal["source-validation"]
    """what selects the best epoch: accuracy on the sources' validation images"""
    domain_classifier: bool
    """fit a classifier of the source domains at the end, for the ensemble `weighted`"""
    calibrate: bool
    """fit a temperature of the probabilities on the sources' validation images at the end; no predicted class changes"""
    device: Literal["auto", "cpu", "cuda", "mps"]
    """where to compute"""
    threads: int | None
    """CPU threads per process (default: PyTorch's, or those of the run that is resumed)"""
    precision: Literal["32", "bf16", "16", "auto"]
    """precision of the forward pass; auto: bf16 where the device computes in it, but for the network small"""
    deterministic: bool
    """use only operations that are bitwise reproducible on the same device"""
    compile: bool
    """compile the network with torch.compile"""
    channels_last: bool | Literal["auto"]
    """use the channels-last memory layout; auto: for networks of convolutions"""


class TrainKeywords(SharedKeywords, total=False):
    """Keywords: the settings of ``dm.train``."""

    target: str | Sequence[str] | None
    """held-out domain, or several joined by commas; `none` trains on all domains"""
    method: str | Mapping[str, Any]
    """a name from `dmg methods`"""
    backbone: str | nn.Module | Callable[[int], nn.Module] | None
    """a torchvision name, timm:NAME, or small (default: by dataset, shown by print_config)"""
    seed: int
    """seed of initialisation, data order, augmentation and mask sampling"""
    devices: int
    """number of processes, one per device"""
    out: Place | None
    """the run folder (default: runs/DATASET-TARGET-METHOD-SEED)"""
    resume: bool
    """resume the run in out, with its own settings"""
    overwrite: bool
    """replace the run in out"""


class EvaluateKeywords(TypedDict, total=False):
    """Keywords: the settings of ``dm.evaluate``."""

    dataset: Place | None
    """the dataset, if it has moved"""
    root: Place | None
    """where the dataset lies now"""
    device: Literal["auto", "cpu", "cuda", "mps"] | None
    """where to compute (default: as the run's settings say)"""
    ensemble: str | None
    """how masks are combined in the accuracies that are shown; results.json has all of them (default: predictions)"""
    calibrate: bool | None
    """fit a temperature of the probabilities on the sources' validation images; no predicted class changes (default:
    as the run is)"""
    tta: Literal["flips", "flips+crops"] | None
    """average the probabilities of an image and its mirror image, or also of four corner crops and theirs"""
    adapt: Literal["batch-norm", "tent"] | None
    """adapt a copy of the network to the unlabelled images that are predicted: batch-norm statistics of all of them,
    or tent, which minimises entropy batch by batch; numbers are marked"""
    adapt_rate: float | None
    """learning rate of tent (default: 0.001)"""
    adapt_batch: int | None
    """images per batch of an adaptation (default: 64)"""
    out: Place | None
    """folder of the results under tta or adapt, which do not replace the run's"""


class AnalyzeKeywords(TypedDict, total=False):
    """Keywords: the settings of ``dm.analyze``."""

    dataset: Place | None
    """the dataset, if it has moved"""
    root: Place | None
    """where the dataset lies now"""
    device: Literal["auto", "cpu", "cuda", "mps"] | None
    """where to compute (default: auto)"""
    images: int | Literal["all"]
    """images of the ablation, of differing channels and of the feature map, sampled from all domains"""
    heat_maps: int
    """images per domain with class activation maps; 0 for none"""
    channels: int
    """differing channels shown for each pair of masks; 0 for none"""
    projection: Literal["pca", "umap", "none"]
    """how features are shown in two dimensions; umap needs the extra umap"""
    no_model: bool
    """skip what needs the model: ablation, class activation maps, features"""
    no_images: bool
    """skip what needs images: the model's part, and thumbnails in galleries"""


class ReportKeywords(TypedDict, total=False):
    """Keywords: the settings of ``dm.report``."""

    out: Place | None
    """folder of the report (default: DIR/report; RUN/report.html for a single run folder)"""
    select: str
    """what selects among the settings of a method; oracle uses the held-out domain and is marked in red"""
    gallery: bool
    """show images in the page"""


class PredictKeywords(TypedDict, total=False):
    """Keywords: the settings of ``dm.predict``."""

    ensemble: str
    """how masks are combined; the votes of all masks are shown in any case"""
    top: int | None
    """number of classes per row (default: 5; 1 on a terminal)"""
    out: Place | None
    """where to write the rows (default: CSV on standard output)"""
    errors: Place | None
    """write the images that could not be read, with the reason"""
    labels: Literal["folder"] | None
    """folder: compare the predictions with the names of the folders that the images lie in, and print the accuracy,
    by class and by mask"""
    tta: Literal["flips", "flips+crops"] | None
    """average the probabilities of an image and its mirror image, or also of four corner crops and theirs"""
    adapt: Literal["batch-norm", "tent"] | None
    """adapt a copy of the network to the unlabelled images that are predicted: batch-norm statistics of all of them,
    or tent, which minimises entropy batch by batch; numbers are marked"""
    adapt_rate: float | None
    """learning rate of tent (default: 0.001)"""
    batch: int
    """batch size; on a CPU at most 16 images are computed together, without adapt"""
    workers: int | None
    """threads that load images and compute; with a GPU, processes that load (default: by CPU cores)"""
    device: str
    """where to compute"""


class ExportKeywords(TypedDict, total=False):
    """Keywords: the settings of ``dm.export``."""

    format: Literal["onnx", "pt2"]
    """onnx, or pt2 for torch.export.load in Python and C++"""
    ensemble: str | None
    """how masks are combined (default: predictions; with prune masks)"""
    opset: int | None
    """ONNX opset (default: 18)"""
    half: bool
    """compute in float16; input and output stay float32"""
    preprocessing: bool
    """resize, crop and normalise in the file, which then takes RGB bytes of any height and width"""
    prune: float | Sequence[float]
    """remove the channels whose mask probability lies below T in [0, 1]; with several T, measure the curve of
    accuracy over T instead of exporting"""
    images: Place | Sequence[Place]
    """images to compare the file and the model on, instead of the run's own"""
    dataset: Place | None
    """the run's dataset, if it has moved"""
    root: Place | None
    """where the run's dataset lies now"""
    limit: int | None
    """images of each split on which the curve is measured (default: all)"""
    out: Place | None
    """the exported file, or the curve's .csv (default: beside the model, named by these settings)"""


class PushKeywords(TypedDict, total=False):
    """Keywords: the settings of ``dm.push``."""

    public: bool
    """create a public repository, not a private one; one that exists keeps its visibility"""
    figures: bool
    """upload the figures of `dmg analyze` that show no images of the dataset"""
    dry_run: bool
    """show the files and the model card, and upload nothing"""


class BenchmarkKeywords(SharedKeywords, total=False):
    """Keywords: the settings of ``dm.benchmark``."""

    backbone: str | None
    """a torchvision name, timm:NAME, or small (default: by dataset, shown by print_config)"""
    methods: Sequence[str | Mapping[str, Any]] | str | None
    """methods (default: dmg aggregate)"""
    targets: Sequence[str | Sequence[str]] | str | None
    """held-out domains (default: each in turn)"""
    seeds: Sequence[int] | int | None
    """seeds (default: 0)"""
    sweep: Mapping[str, Sequence[Any]] | Sequence[str] | str | None
    """values of a setting, each of which is run; of several settings every combination"""
    variants: Sequence[Mapping[str, Any] | str] | str | None
    """settings that are run one by one instead of in every combination; each with the values of sweep"""
    search: int | None
    """random search over N settings of every method, its defaults and N - 1 draws from its ranges (see `dmg methods
    NAME`), with the first seed; what source validation selects is run with all seeds"""
    select: str | None
    """what selects among swept settings: source-validation, leave-one-domain-out, oracle (default: source-validation)"""
    out: Place | None
    """folder of all runs (default: runs/benchmark-DATASET)"""
    jobs: int | None
    """runs in parallel (default: 1; with ray one per GPU or node)"""
    launcher: Literal["local", "ray"] | None
    """this machine, or a Ray cluster"""
    ray_address: Place | None
    """address of the cluster: auto, HOST:PORT, or local to start one here"""
    dry_run: bool
    """print the runs and their states, the disk space and the time that the pending ones need, and exit"""
