// Package nn holds the layers that the models are built of: a layer is its
// weights and a Forward that calls autodiff's operations.
//
// Layers are made by a [Loader], which takes each weight from a [Source] under
// its diffusers name, checks name, shape and values, and packs it for the
// device. Linear layers and convolutions have a slot for a low-rank adapter;
// what fills it is package lora's business.
package nn
