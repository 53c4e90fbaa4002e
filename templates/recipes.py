"""Every workflow for a published model, in the order in which the template browser lists them."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.pipeline.models import VideoSize
from templates.joint_sources import hunyuan, hunyuan15, ltx, ltx2, minimax_h3
from templates.recipe import Recipe, Settings
from templates.sources import wan_5b, wan_experts, wan_picture, wan_text

FOX = "a fox moving quickly in a beautiful winter scenery nature trees mountains daytime tracking camera"
PLANE = "A paper airplane glides between the towers of a city, crosses a street and rises in the wind"
TURN = "the camera moves slowly closer, hair and clothes move in the wind"
UMT5, WAN_VAE = "umt5_xxl_fp8_e4m3fn_scaled.safetensors", "wan_2.1_vae.safetensors"
T2V22 = tuple(f"wan2.2_t2v_{noise}_noise_14B_fp8_scaled.safetensors" for noise in ("high", "low"))
I2V22 = tuple(f"wan2.2_i2v_{noise}_noise_14B_fp8_scaled.safetensors" for noise in ("high", "low"))
LIGHTX2V = tuple(
    f"wan2.2_t2v_lightx2v_4steps_lora_v1.1_{noise}_noise.safetensors" for noise in ("high", "low")
)
OWN_SIZE = VideoSize(832, 480, 81)
WAN21 = Settings(OWN_SIZE, steps=30, cfg=6, shift=8, fps=16, why="81 frames (33 there)")
WAN22 = Settings(OWN_SIZE, steps=20, cfg=3.5, shift=8, fps=16, why="832x480 (640x640 there)")
PAPER = Settings(
    VideoSize(1280, 768, 117), steps=50, cfg=6, shift=7, fps=24, t_i=30,
    why="size, 50 steps, t_i and s are the paper's; 20 steps at 848x480 there",
)  # fmt: skip
RECIPES = [
    Recipe(
        "10 Wan 2.1 1.3B to 1664x960", "s2flow_wan21_1_3b", "The smallest Wan, at twice its size.", WAN21,
        wan_text, ("wan2.1_t2v_1.3B_fp16.safetensors", UMT5, WAN_VAE), "wan_1.3b", prompt=FOX,
    ),
    Recipe(
        "11 Wan 2.1 14B to 1664x960", "s2flow_wan21_14b", "Wan 2.1 14B, at twice its size.", WAN21,
        wan_text, ("wan2.1_t2v_14B_fp8_scaled.safetensors", UMT5, WAN_VAE), "wan_14b", prompt=FOX,
    ),
    Recipe(
        "12 Wan 2.1 14B image to video, 1664x960", "s2flow_wan21_i2v", "A picture comes to life.",
        replace(WAN21, steps=20, why="832x480, 81 frames (512x512, 33 there)"), wan_picture,
        ("wan2.1_i2v_480p_14B_fp16.safetensors", UMT5, WAN_VAE, "clip_vision_h.safetensors"), "wan_14b",
        prompt=TURN,
    ),
    Recipe(
        "13 Wan 2.2 14B to 1664x960", "s2flow_wan22_t2v", "Two experts: one for layout, one for detail.",
        WAN22, wan_experts, (*T2V22, UMT5, WAN_VAE), "wan_14b", prompt=FOX,
    ),
    Recipe(
        "14 Wan 2.2 14B image to video, 1664x960", "s2flow_wan22_i2v", "A picture comes to life.",
        replace(WAN22, boundary=0.9), wan_picture, (*I2V22, UMT5, WAN_VAE), "wan_14b", prompt=TURN,
    ),
    Recipe(
        "15 Wan 2.2 14B in 4 steps, 1664x960", "s2flow_wan22_4_steps",
        "A distilled LoRA: four steps, of which two run at the large size.",
        replace(WAN22, steps=4, cfg=1, shift=5, t_i=2), wan_experts, (*T2V22, UMT5, WAN_VAE), "wan_14b",
        prompt=FOX, options={"loras": LIGHTX2V},
    ),
    Recipe(
        "16 Wan 2.2 5B to 2560x1408", "s2flow_wan22_5b", "One model of 5B, from 704p to 1408p.",
        Settings(VideoSize(1280, 704, 121), steps=20, cfg=5, shift=8, fps=24), wan_5b,
        ("wan2.2_ti2v_5B_fp16.safetensors", UMT5, "wan2.2_vae.safetensors"), "wan22_5b", prompt=FOX,
    ),
    Recipe(
        "17 HunyuanVideo to 2560x1536, the paper", "s2flow_hunyuan", "The paper's own setting.", PAPER,
        hunyuan, (
            "hunyuan_video_t2v_720p_bf16.safetensors", "clip_l.safetensors",
            "llava_llama3_fp8_scaled.safetensors", "hunyuan_video_vae_bf16.safetensors",
        ), "hunyuan_video", prompt=FOX,
    ),
    Recipe(
        "18 HunyuanVideo 1.5 to 2560x1440", "s2flow_hunyuan15", "HunyuanVideo 1.5, from 720p to 1440p.",
        Settings(VideoSize(1280, 720, 121), steps=20, cfg=6, shift=7, fps=24), hunyuan15, (
            "hunyuanvideo1.5_720p_t2v_fp16.safetensors", "qwen_2.5_vl_7b_fp8_scaled.safetensors",
            "byt5_small_glyphxl_fp16.safetensors", "hunyuanvideo15_vae_fp16.safetensors",
        ), "hunyuan_video_15", prompt=PLANE,
    ),
    Recipe(
        "19 LTX-Video 2B to 1536x1024", "s2flow_ltx", "The fastest of them.",
        Settings(VideoSize(768, 512, 97), steps=30, cfg=3, shift=0, fps=24), ltx,
        ("ltx-video-2b-v0.9.safetensors", "t5xxl_fp16.safetensors"), "ltx_video", prompt=FOX,
    ),
    Recipe(
        "20 Little memory, Wan 2.1 1.3B to 960x544", "s2flow_little_memory",
        "Weights in 8 bit, a smaller video, the latent enlarged without the VAE, decoded in tiles.",
        replace(WAN21, size=VideoSize(480, 272, 49), share=0.4, s=0.3, why="size and weights"), wan_text,
        ("wan2.1_t2v_1.3B_fp16.safetensors", UMT5, WAN_VAE), "wan_1.3b", prompt=FOX,
        options={"weights": "fp8_e4m3fn", "light": True},
    ),
    Recipe(
        "21 Long clip, Wan 2.1 1.3B to 1664x960", "s2flow_long_clip",
        "Ten seconds in overlapping slices of 81 frames (context windows).",
        replace(WAN21, size=VideoSize(832, 480, 161), why="161 frames"), wan_text,
        ("wan2.1_t2v_1.3B_fp16.safetensors", UMT5, WAN_VAE), "wan_1.3b", prompt=FOX,
        options={"context": 81, "overlap": 30},
    ),
    Recipe(
        "22 LTX-2 to 1280x704 with sound, ComfyUI 0.33", "s2flow_ltx2", "Picture and sound together.",
        Settings(VideoSize(640, 352, 121), steps=20, cfg=4, shift=0, fps=25), ltx2,
        ("ltx-2-19b-dev-fp8.safetensors", "gemma_3_12B_it_fp4_mixed.safetensors"),
        since=(0, 33), prompt=FOX,
    ),
    Recipe(
        "23 MiniMax H3 to 1728x960 with sound, ComfyUI 0.33", "s2flow_h3", "Picture and sound together.",
        Settings(VideoSize(864, 480, 124), steps=20, cfg=1, shift=0, fps=24), minimax_h3, (
            "minimax_h3_fl2va_pruned_int8_convrot.safetensors",
            "qwen3vl_32b_minimax_h3_nvfp4_awq.safetensors", "minimax_h3_video_vae_fp16.safetensors",
            "minimax_h3_audio_vae_fp32.safetensors",
        ), "minimax_h3", since=(0, 33), prompt=FOX,
    ),
]  # fmt: skip
