"""ClipGT, the world-scenario parquet files of NVIDIA's driving models: one folder of tables per clip.

The layout is that of nvidia-cosmos/cosmos-transfer2.5 at 2ff49d0: ``docs/world_scenario_parquet.md`` and its reader,
``cosmos_transfer2/_src/imaginaire/auxiliary/world_scenario/dataloaders/clipgt_loader.py``; the rig JSON also follows
``src/runtime/alpasim_runtime/video_model/usdz_calibration.py`` of NVlabs/alpasim at 3032e0c, the column types
``src/autoware_lanelet2_to_clipgt/cosmos_transfer2_5/schemas.py`` of hakuturu583/autoware_lanelet2_to_clipgt at c5e3f13,
and the names of captions and videos ``samples/post-training/prepare.py`` of nv-tlabs/omni-dreams at cd85f39.

Their world frame has its origin at the first ego pose. Ego axes and origin are those of nuScenes: x forward, y left, z
up, at the center of the rear axle on the ground. Times are whole microseconds, quaternions x, y, z, w.
"""
