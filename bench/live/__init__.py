"""A camera's frames, 640×480 JPEGs made of the samples: ours beside torch in eager mode with OpenCV, in one run.

    python -m bench.live                                        all modes; CUDA as well where torch finds it
    python -m bench.live --modes classify --rounds 5 --seconds 5
    python -m bench.live --filter                               every way denoises each frame first
    python -m bench.live --stages                               ours on a CPU, stage by stage, and each choice's worth
    python -m bench.live --quick                                does it run? Its figures say nothing

The ways take turns in each round, and ratios are of the same round. *Ours, in process* is what /v1/live does to a
frame: `to_pixels` (with a filter or a detector `decode_rgb`, and all else of that), the network in OpenVINO, a frame a
core at once. *Our server* is asked over its WebSocket; a session sends its next frame when the last is answered. *Torch
eager* is what everyone writes: cv2.imdecode, resize, crop, normalise, the same weights; one frame at a time on all
cores, or a frame a core. Detectors have random weights: how long they take is seen, not what they see.

With `--stages` a row is a part of that work, a frame at a time on one core, and `times as fast` is by processor time,
beside the first way of its stage. It needs a detector with random weights: `ninefold models build rtdetr_r18-seeded`.
"""
