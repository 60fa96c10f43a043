"""Which way the measures of a probe point."""

# Of all others, errors, losses and distances, less is better.
MORE_IS_BETTER = frozenset({"mover/permanence", "standing/permanence", "ego/recovered", "next/psnr", "next/ssim"})
