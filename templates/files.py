"""The files of published models, with the addresses at which core's own templates find them."""

from __future__ import annotations

from typing import Any

HUB = "https://huggingface.co"
WAN21 = f"{HUB}/Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files"
WAN22 = f"{HUB}/Comfy-Org/Wan_2.2_ComfyUI_Repackaged/resolve/main/split_files"
HUNYUAN = f"{HUB}/Comfy-Org/HunyuanVideo_repackaged/resolve/main/split_files"
HUNYUAN15 = f"{HUB}/Comfy-Org/HunyuanVideo_1.5_repackaged/resolve/main/split_files"
FLUX_TEXT = f"{HUB}/comfyanonymous/flux_text_encoders/resolve/main"
H3 = f"{HUB}/Comfy-Org/MiniMax-H3/resolve/main"
LTX, LTX2 = f"{HUB}/Lightricks/LTX-Video/resolve/main", f"{HUB}/Lightricks/LTX-2/resolve/main"
LTX2_TEXT = f"{HUB}/Comfy-Org/ltx-2/resolve/main/split_files"

# Name -> where it is found. A folder of ComfyUI's is the last but one part, where it is not named here.
ADDRESSES = [
    f"{WAN21}/diffusion_models/wan2.1_t2v_1.3B_fp16.safetensors",
    f"{WAN21}/diffusion_models/wan2.1_t2v_14B_fp8_scaled.safetensors",
    f"{WAN21}/diffusion_models/wan2.1_i2v_480p_14B_fp16.safetensors",
    f"{WAN21}/text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors",
    f"{WAN21}/vae/wan_2.1_vae.safetensors",
    f"{WAN21}/clip_vision/clip_vision_h.safetensors",
    f"{WAN22}/diffusion_models/wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors",
    f"{WAN22}/diffusion_models/wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors",
    f"{WAN22}/diffusion_models/wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors",
    f"{WAN22}/diffusion_models/wan2.2_i2v_low_noise_14B_fp8_scaled.safetensors",
    f"{WAN22}/diffusion_models/wan2.2_ti2v_5B_fp16.safetensors",
    f"{WAN22}/loras/wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise.safetensors",
    f"{WAN22}/loras/wan2.2_t2v_lightx2v_4steps_lora_v1.1_low_noise.safetensors",
    f"{WAN22}/vae/wan2.2_vae.safetensors",
    f"{HUNYUAN}/diffusion_models/hunyuan_video_t2v_720p_bf16.safetensors",
    f"{HUNYUAN}/text_encoders/llava_llama3_fp8_scaled.safetensors",
    f"{HUNYUAN}/vae/hunyuan_video_vae_bf16.safetensors",
    f"{HUNYUAN15}/diffusion_models/hunyuanvideo1.5_720p_t2v_fp16.safetensors",
    f"{HUNYUAN15}/text_encoders/qwen_2.5_vl_7b_fp8_scaled.safetensors",
    f"{HUNYUAN15}/text_encoders/byt5_small_glyphxl_fp16.safetensors",
    f"{HUNYUAN15}/vae/hunyuanvideo15_vae_fp16.safetensors",
    f"{H3}/diffusion_models/minimax_h3_fl2va_pruned_int8_convrot.safetensors",
    f"{H3}/text_encoders/qwen3vl_32b_minimax_h3_nvfp4_awq.safetensors",
    f"{H3}/vae/minimax_h3_video_vae_fp16.safetensors",
    f"{H3}/vae/minimax_h3_audio_vae_fp32.safetensors",
    f"{LTX2_TEXT}/text_encoders/gemma_3_12B_it_fp4_mixed.safetensors",
]
ELSEWHERE = {
    f"{FLUX_TEXT}/clip_l.safetensors": "text_encoders",
    f"{FLUX_TEXT}/t5xxl_fp16.safetensors": "text_encoders",
    f"{LTX}/ltx-video-2b-v0.9.safetensors": "checkpoints",
    f"{LTX2}/ltx-2-19b-dev-fp8.safetensors": "checkpoints",
}
PLACES = {address: address.split("/")[-2] for address in ADDRESSES} | ELSEWHERE
FILES = {
    address.rpartition("/")[2]: {
        "name": address.rpartition("/")[2],
        "url": address,
        "directory": folder,
    }
    for address, folder in PLACES.items()
}


def links(*names: str) -> list[dict[str, Any]]:
    """As `properties.models` of a loader holds them, so that ComfyUI offers what is missing."""
    return [dict(FILES[name]) for name in names]
