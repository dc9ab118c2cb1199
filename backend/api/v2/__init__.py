"""The Open Inference Protocol, version 2, over HTTP: what programs that know Triton or KServe speak already.

body --request.asked--> pixels, or bytes of pictures --routes--> logits --response.answer--> body
      ApiError 400 malformed_request                  ApiError 400 bad_image
"""

from backend.api.v2.routes import router

__all__ = ["router"]
