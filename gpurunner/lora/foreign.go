package lora

// foreign recognises files that are no concept: what they are, and what to do
// with them; two empty texts for everything else.
func (s *source) foreign() (kind, advice string) {
	for _, key := range s.keys {
		if _, _, factor := split(key); factor || numberedKey.MatchString(key) {
			return "", "" // a concept, whatever lies beside its factors
		}
	}
	has := func(key string) bool { _, ok := s.info[key]; return ok }
	switch {
	case s.meta["lowrank.checkpoint"] != "":
		return "the progress of a training that was stopped", "go on from it by lowrank train with --resume, and use the file that it then writes"
	case hasPrefix(s.keys, "model.diffusion_model.") || hasPrefix(s.keys, "first_stage_model."):
		return "a whole checkpoint (a base model in one file)", "give it as --base"
	case hasPrefix(s.keys, "controlnet_"):
		return "a ControlNet's weights", "they cannot be used here"
	case has("conv_in.weight") && hasPrefix(s.keys, "down_blocks."):
		return "a UNet's weights (of a full fine-tuning, or a base model's part)",
			"put it in place of unet/diffusion_pytorch_model.safetensors in a copy of the base model's folder and give that as --base; the words of a full fine-tuning are the concept, in the file beside it that ends in -tokens.safetensors"
	case hasPrefix(s.keys, "encoder.down_blocks.") || hasPrefix(s.keys, "decoder.up_blocks."):
		return "an autoencoder's weights (the VAE of a base model)", "put it into the base model's folder, as vae/diffusion_pytorch_model.safetensors"
	case has("text_model.embeddings.token_embedding.weight"):
		return "a text encoder's weights (a base model's part)", "put it into the base model's folder, as text_encoder/model.safetensors"
	}
	return "", ""
}

// checkForeign refuses what is no concept before any base is tried.
func (s *source) checkForeign() error {
	if kind, advice := s.foreign(); kind != "" {
		return s.fail("holds %s, no concept: %s", kind, advice)
	}
	return nil
}

// unknown reports whether nothing in the file is of any layout.
func (s *source) unknown() bool {
	for _, key := range s.keys {
		_, _, factor := split(key)
		_, _, word := s.wordOf(key, len(s.keys))
		if factor || word || numberedKey.MatchString(key) {
			return false
		}
	}
	return true
}
