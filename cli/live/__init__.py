"""`ninefold live`: a camera, a video file or a stream, and what is on its frames; in one process, without a server.

SOURCE --source--> frame --looking--> things --drawing--> frame --screen or film--> a window, or an mp4
"""
