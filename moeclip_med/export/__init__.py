"""A model for other programs: ONNX, OpenVINO, MONAI bundle; each checked against PyTorch when it is written."""
