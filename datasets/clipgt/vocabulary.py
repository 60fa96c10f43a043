"""Names of ClipGT and of nuScenes: categories of objects, camera channels, styles of lines."""

from driveforge.datasets.scene import CLIP_ID
from driveforge.datasets.video_files import make_clip_id

# ClipGT has fewer names than nuScenes. NVIDIA's reader draws every name that it does not know, such as "other", alike.
_TO_CLIPGT = {
    "vehicle.car": "automobile",
    "vehicle.emergency.police": "automobile",
    "vehicle.emergency.ambulance": "other_vehicle",
    "vehicle.construction": "other_vehicle",
    "vehicle.truck": "heavy_truck",
    "vehicle.bus.rigid": "bus",
    "vehicle.bus.bendy": "bus",
    "vehicle.trailer": "trailer",
    "vehicle.bicycle": "rider",
    "vehicle.motorcycle": "rider",
    "human.pedestrian.stroller": "stroller",
    "human.pedestrian.personal_mobility": "rider",
    "animal": "animal",
}
_PREFIXES_TO_CLIPGT = {"vehicle.": "other_vehicle", "human.": "person"}
_OTHER = "other"

_FROM_CLIPGT = {
    "automobile": "vehicle.car",
    "car": "vehicle.car",
    "vehicle": "vehicle.car",
    "other_vehicle": "vehicle.car",
    "heavy_truck": "vehicle.truck",
    "truck": "vehicle.truck",
    "train_or_tram_car": "vehicle.truck",
    "bus": "vehicle.bus.rigid",
    "trolley_bus": "vehicle.bus.rigid",
    "trailer": "vehicle.trailer",
    "person": "human.pedestrian.adult",
    "pedestrian": "human.pedestrian.adult",
    "rider": "vehicle.bicycle",
    "cyclist": "vehicle.bicycle",
    "bicycle": "vehicle.bicycle",
    "motorcycle": "vehicle.motorcycle",
    "stroller": "human.pedestrian.stroller",
    "animal": "animal",
}

_SENSORS = {
    "CAM_FRONT": "camera:front:wide:120fov",
    "CAM_FRONT_LEFT": "camera:cross:left:120fov",
    "CAM_FRONT_RIGHT": "camera:cross:right:120fov",
    "CAM_BACK": "camera:rear:tele:30fov",
    "CAM_BACK_LEFT": "camera:rear:left:70fov",
    "CAM_BACK_RIGHT": "camera:rear:right:70fov",
    "CAM_FRONT_TELE": "camera:front:tele:30fov",
}
_CHANNELS = {sensor: channel for channel, sensor in _SENSORS.items()}

# Edges that are not painted on the road.
VIRTUAL_STYLE = "VIRTUAL"
BOUNDARY_STYLE = "ROAD_BOUNDARY"


def category_to_clipgt(category: str) -> str:
    """The ClipGT name of a nuScenes category, "other" if there is none."""
    prefixes = (name for prefix, name in _PREFIXES_TO_CLIPGT.items() if category.startswith(prefix))
    return _TO_CLIPGT.get(category) or next(prefixes, _OTHER)


def category_from_clipgt(name: str) -> str:
    """The nuScenes category of a ClipGT name in any case, as NVIDIA's reader draws it; "object" for all others."""
    return _FROM_CLIPGT.get(name.lower(), "object")


def sensor_name(channel: str) -> str:
    """The sensor of a camera channel: ``camera:front:wide:120fov`` for ``CAM_FRONT``."""
    return _SENSORS.get(channel.upper()) or f"camera:{channel.lower()}"


def channel_name(sensor: str) -> str:
    """The camera channel of a sensor; of a sensor without a nuScenes channel, its name with '_' for ':'."""
    channel = _CHANNELS.get(sensor) or file_name(sensor)
    return channel if CLIP_ID.fullmatch(channel.lower()) else make_clip_id(channel)


def file_name(sensor: str) -> str:
    """The name of a sensor in file names: ``camera_front_wide_120fov``."""
    return sensor.replace(":", "_")
