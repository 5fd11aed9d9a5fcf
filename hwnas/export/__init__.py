"""From trained parameters to files that run elsewhere: fold, calibrate, ONNX, native libraries, and their proof."""
