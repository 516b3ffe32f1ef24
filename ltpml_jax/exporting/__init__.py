"""A run's network in the files of other programs: timm, torchvision, ONNX, StableHLO."""
