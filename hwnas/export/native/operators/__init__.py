"""One file an ONNX operator (or a family with one kernel): docs/native-operators.md says what a file defines."""
