"""``usviewer models convert-sam``: a checkpoint of SAM or UltraSam becomes a prompt model of this program.

``checkpoint`` reads the tensors under one set of names, ``network`` is the published architecture and writes the two
ONNX files, ``convert`` makes the model's folder. PyTorch is imported here and nowhere else in the package.
"""
