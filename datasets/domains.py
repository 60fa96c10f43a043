"""Names of the simulated domains. A domain is a group of clips of one kind; recorded footage may use any other name."""

DAY, DUSK, RAIN = "day", "dusk", "rain"
WEATHER_VARIANTS = (DAY, DUSK, RAIN)

# The prefix of all driving domains, and the name for them as a group.
DRIVING = "driving"
DRIVING_DAY, DRIVING_DUSK, DRIVING_RAIN = "driving-day", "driving-dusk", "driving-rain"
DRIVING_DOMAINS = (DRIVING_DAY, DRIVING_DUSK, DRIVING_RAIN)

# Camera and object motion other than driving, which fine-tuning must not make a model forget.
ORBIT, HANDHELD, FALLING, WALKERS = "orbit", "handheld", "falling", "walkers"
OTHER_DOMAINS = (ORBIT, HANDHELD, FALLING, WALKERS)

ALL_DOMAINS = DRIVING_DOMAINS + OTHER_DOMAINS


def is_driving(domain: str) -> bool:
    return domain.startswith(DRIVING)


def driving_domain(weather: str) -> str:
    """The domain of driving scenes in ``weather``, such as ``driving-day``."""
    return f"{DRIVING}-{weather}"


def weather_of(driving_domain: str) -> str:
    """The weather of a driving domain; "" if its name has none."""
    return driving_domain.removeprefix(DRIVING).removeprefix("-")
