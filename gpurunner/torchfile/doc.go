// Package torchfile reads the tensors of files that PyTorch's torch.save wrote
// (.pt, .bin, .pth), the layout of adapters and embeddings before safetensors.
//
// Such a file is a Python pickle, a program for a stack machine that may call
// anything Python has, with the tensors' bytes beside it in a zip. Nothing is
// called here: the machine knows dictionaries, lists, numbers, texts and tensors,
// and makes an empty [Object] of everything else. So a hostile file can do
// no more than fail to be read.
//
// [Open] returns the tree. The package knows nothing of what tensors mean; package
// lora does. Files of PyTorch before 1.6, which are no zips, are not read.
package torchfile
