"""The direction of the measures of an evaluation."""

# All others are errors, losses and distances: lower is better.
HIGHER_IS_BETTER = frozenset(
    {"moving_objects/permanence", "static_objects/permanence", "ego/recovered", "next_frame/psnr", "next_frame/ssim"}
)
