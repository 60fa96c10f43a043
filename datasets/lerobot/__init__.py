"""LeRobot data sets, version 3.0, written with pyarrow alone.

The layout is that of huggingface/lerobot at 7427f31: ``src/lerobot/datasets/dataset_metadata.py``,
``dataset_reader.py``, ``dataset_writer.py``, ``io_utils.py`` and ``utils.py``.
"""
