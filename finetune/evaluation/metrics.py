"""Which way the measures of a probe point."""

# Of all others, errors, losses and distances, less is better.
HIGHER_IS_BETTER = frozenset(
    {"moving_objects/permanence", "static_objects/permanence", "ego/recovered", "next_frame/psnr", "next_frame/ssim"}
)
