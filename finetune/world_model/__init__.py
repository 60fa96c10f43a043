"""The world model: its conditions, flow matching, sampling and the VAE, over the parts of diffusers."""
