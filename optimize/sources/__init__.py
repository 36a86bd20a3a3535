"""Where models come from: one file a kind of source; every one ends in float ONNX that agrees with its source."""
