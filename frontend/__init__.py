"""The page people use. It knows the server by HTTP alone: nothing of ours but this folder is imported here."""
