"""Rendered scenes: pictures and videos of our own, unlimited, with everything known about them.

A scene is a description (:class:`Scene`), drawn at random for any index (:func:`sample_scene`),
rendered with depth and masks (:func:`render`), told in words (:func:`captions`) and measured
(:func:`scene_factors`). Twins differ in one factor (:func:`vary`). Moving scenes
(:func:`sample_movie`, :func:`render_movie`) carry their true optical flow.
"""

from phosphene.data.scenes.captions import (
    NamedSolid,
    caption_vocabulary,
    captions,
    describes,
    parse_caption,
)
from phosphene.data.scenes.description import (
    Camera,
    Ground,
    Light,
    Scene,
    Sky,
    Solid,
    scene_from_dict,
)
from phosphene.data.scenes.factors import (
    CAPTIONED_FACTORS,
    WITHHELD_FACTORS,
    Relation,
    SceneFactors,
    SolidFactors,
    factor_table,
    scene_factors,
)
from phosphene.data.scenes.flow import RenderedMovie, forward_flow, render_movie
from phosphene.data.scenes.frozen import DESCRIPTION_HASH, description_hash
from phosphene.data.scenes.motion import MOTIONS, CameraMotion, Motion, MovingScene, Shot
from phosphene.data.scenes.movies import movie_captions, sample_movie
from phosphene.data.scenes.rendering import RenderedScenes, render, render_geometry
from phosphene.data.scenes.sampling import (
    DEFAULT,
    DISTRIBUTIONS,
    HELD_OUT_CONJUNCTIONS,
    HELD_OUT_SHAPES,
    SCENES_VERSION,
    SPLITS,
    SceneDistribution,
    sample_scene,
    sample_scenes,
)
from phosphene.data.scenes.tracing import GROUND_ID, SKY_ID
from phosphene.data.scenes.variations import VARIED_FACTORS, hard_negatives, vary
from phosphene.data.scenes.vocabulary import (
    ALL_SHAPES,
    COLOURS,
    GROUND_TEXTURES,
    HELD_OUT_SHAPE,
    MATERIALS,
    SHAPES,
    SIZES,
    SKIES,
    is_held_out,
)

__all__ = [
    "ALL_SHAPES",
    "CAPTIONED_FACTORS",
    "COLOURS",
    "DEFAULT",
    "DESCRIPTION_HASH",
    "DISTRIBUTIONS",
    "GROUND_ID",
    "GROUND_TEXTURES",
    "HELD_OUT_CONJUNCTIONS",
    "HELD_OUT_SHAPE",
    "HELD_OUT_SHAPES",
    "MATERIALS",
    "MOTIONS",
    "SCENES_VERSION",
    "SHAPES",
    "SIZES",
    "SKIES",
    "SKY_ID",
    "SPLITS",
    "VARIED_FACTORS",
    "WITHHELD_FACTORS",
    "Camera",
    "CameraMotion",
    "Ground",
    "Light",
    "Motion",
    "MovingScene",
    "NamedSolid",
    "Relation",
    "RenderedMovie",
    "RenderedScenes",
    "Scene",
    "SceneDistribution",
    "SceneFactors",
    "Shot",
    "Sky",
    "Solid",
    "SolidFactors",
    "caption_vocabulary",
    "captions",
    "describes",
    "description_hash",
    "factor_table",
    "forward_flow",
    "hard_negatives",
    "is_held_out",
    "movie_captions",
    "parse_caption",
    "render",
    "render_geometry",
    "render_movie",
    "sample_movie",
    "sample_scene",
    "sample_scenes",
    "scene_factors",
    "scene_from_dict",
    "vary",
]
