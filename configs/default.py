"""Every field of a run, with its meaning. Other config files start from here and change what differs."""

from ml_collections import ConfigDict

from ltpml_jax.types import Config


def get_config() -> Config:
    """Settings of the reference recipe wherever it has one; `estimated` priors, since truth is unknown."""
    config = ConfigDict()
    config.seed = 0  # base of every random stream: initialisation, order, augmentation, dropout, mixup

    config.data = ConfigDict()
    config.data.name = "digits_mlt"  # an embedded dataset (digits_mlt, digits_identity) or one that was prepared
    config.data.dir = "~/tensorflow_datasets"  # where datasets lie, on any path that etils.epath opens
    config.data.labels = "candidates"  # what training sees: candidates | clean (a ceiling, not LT-PML)
    config.data.candidates = ""  # a manifest of candidate sets (.npz of ltpml corrupt); "" draws them
    config.data.unknown = "candidate"  # what an unknown label is to training: candidate | negative
    config.data.partial_rate = 0.0  # q in [0, 1): probability that a negative becomes a candidate
    config.data.candidate_seed = 0  # seed of the candidate sets; with q and the labels it fixes them for ever
    config.data.validation = 0.0  # share of training images held out (with candidate labels) to choose `best`
    config.data.sampler = "class_aware"  # class_aware | shuffle
    config.data.batch_size = 32  # global batch, over all devices
    config.data.image_size = 224  # side in pixels after cropping; the ratio is not kept
    config.data.min_crop = 0.8  # smallest side of the random crop, as a share of the image's
    config.data.crop_ratio = (0.5, 2.0)  # range of width / height of the random crop
    config.data.resize = "opencv"  # opencv (as the reference) | pillow (as torchvision) | fast (JPEGs decoded smaller)
    config.data.unreadable = "stop"  # an image that cannot be read: stop | skip (the next one takes its place)
    config.data.flip = 0.5  # probability of a horizontal flip
    config.data.workers = 0  # grain worker processes; 0 reads in threads of this process
    config.data.threads = 2  # reading threads (of each worker)

    config.jitter = ConfigDict()  # photometric distortion; each part is applied with probability 1/2
    config.jitter.brightness = 32.0  # added, in units of 0..255
    config.jitter.contrast = (0.5, 1.5)  # factor
    config.jitter.saturation = (0.5, 1.5)  # factor
    config.jitter.hue = 18.0  # shift in degrees
    config.jitter.channel_shuffle = True  # permute R, G, B

    config.model = ConfigDict()
    config.model.backbone = "resnet50"  # resnet18 | resnet34 | resnet50 | resnet101 | resnet_small
    config.model.pretrained = ""  # a .safetensors or .pth path, hf:OWNER/NAME[/FILE], digits_small; "" for none
    config.model.neck_width = 256  # width of the linear layer between backbone and head
    config.model.dropout = 0.5  # after the neck's BatchNorm
    config.model.frozen_stages = 1  # 0 none, 1 stem and first stage, ..., 4 the whole backbone
    config.model.backbone_norm = "stored"  # BatchNorm statistics in training: stored | batch
    config.model.dtype = "float32"  # compute type: float32 | bfloat16; parameters and losses stay float32
    config.model.fold_norm = True  # fold stored-statistics BatchNorm into its convolution
    config.model.pointwise_matmul = True  # 1x1 convolutions as matrix products

    config.method = ConfigDict()
    config.method.name = "ndlp"  # ndlp | bce | db_focal
    config.method.priors = "estimated"  # estimated (from candidates) | oracle (true counts and lists)

    config.db = ConfigDict()  # Distribution-Balanced loss; names of its paper
    config.db.init_bias = 0.05  # scale of the logit offset of rare classes
    config.db.neg_scale = 5.0  # negative tolerance; 5 for VOC, 2 for COCO and NUS-WIDE
    config.db.map_alpha = 0.1  # floor of the re-balancing weight
    config.db.map_beta = 10.0  # steepness of the re-balancing weight
    config.db.map_theta = 0.3  # centre of the re-balancing weight; 0.3 for VOC, 0.2 for COCO and NUS-WIDE

    config.ndlp = ConfigDict()
    config.ndlp.gamma = 3.0  # sharpening exponent; 3 for VOC, 2 for COCO and NUS-WIDE
    config.ndlp.alpha = (0.4, 0.8)  # reliable share of a class's quota, first epoch to last
    config.ndlp.eta = 0.9  # weight of the mixup pass towards the last epoch
    config.ndlp.correction_rate = 0.1  # mu: step of the moving average of the soft labels
    config.ndlp.mixup_concentration = 4.0  # lambda ~ Beta(c, c)
    config.ndlp.mixup_block = 0  # partners come from so many consecutive images; 0: from the whole batch, as published
    config.ndlp.label_correction = True  # ablation: update soft labels from predictions
    config.ndlp.class_aware_thresholds = True  # ablation: thresholds by class (off: 0.5 for all)
    config.ndlp.distribution_finetuning = True  # ablation: adapt the class distribution r
    config.ndlp.mixup_pass = True  # ablation: the second pass on mixed reliable samples

    config.optim = ConfigDict()  # SGD at a constant rate
    config.optim.learning_rate = 0.02  # constant over the run
    config.optim.momentum = 0.9  # heavy-ball momentum
    config.optim.weight_decay = 1e-4  # on everything that trains

    config.train = ConfigDict()
    config.train.epochs = 10  # passes of the sampler; also the length of NDLP's schedules
    config.train.devices = 0  # how many devices of each process to use; 0 for all
    config.train.one_jit = True  # compile both passes as one program (off: two; less memory at a time)
    config.train.checkpoint_every = 0  # steps between checkpoints, beside those at epoch ends; 0 for none
    config.train.max_skipped = 5  # steps in a row whose loss is not finite, and which are not applied, until it stops
    config.train.start_limit = 900.0  # seconds until the first step must be done, in all processes; 0 for no limit
    config.train.step_limit = 300.0  # seconds between two signs of life of a process after that; 0 for no limit

    config.eval = ConfigDict()
    config.eval.batch_size = 100  # images a step in evaluation, rounded up to divide among the devices
    return config
