"""Moving scenes: paths, cuts, and optical flow against independent projection and warping."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from phosphene.data.scenes import (
    MOTIONS,
    SKY_ID,
    Camera,
    CameraMotion,
    Ground,
    Motion,
    MovingScene,
    Scene,
    Shot,
    Solid,
    forward_flow,
    render,
    render_geometry,
    render_movie,
    sample_movie,
)
from phosphene.data.scenes.composition import separated
from phosphene.errors import InputError

Build = Callable[..., Scene]
BuildSolid = Callable[..., Solid]
Array = NDArray[np.float64]

SIZE = 48


def points_seen(scene: Scene) -> tuple[Array, NDArray[np.uint8]]:
    """World point behind every pixel from the depth alone, in double precision."""
    depth, mask = render_geometry(scene, SIZE)
    centres = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    x, y = np.meshgrid(centres, -centres)
    right, up, forward = scene.camera.axes
    ray = forward + scene.camera.half_width * (x[..., None] * right + y[..., None] * up)
    finite = np.where(np.isfinite(depth), depth, 0)[..., None]
    return scene.camera.position + finite * ray, mask


def pixel_of(camera: Camera, points: Array) -> Array:
    x, y, depth = np.moveaxis((points - camera.position) @ camera.axes.T, -1, 0)
    scale = SIZE / 2 / camera.half_width
    return np.stack([SIZE / 2 + scale * x / depth, SIZE / 2 - scale * y / depth], axis=-1)


def own_pixels() -> Array:
    here = np.arange(SIZE) + 0.5
    return np.stack(np.meshgrid(here, here), axis=-1)


def about_vertical(points: Array, centre: Array, degrees: float) -> Array:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    moved: Array = (points - centre) @ turn.T + centre
    return moved


def test_flow_of_a_gliding_solid_is_the_difference_of_projections(
    make_scene: Build, make_solid: BuildSolid
) -> None:
    still, solid = make_solid(x=-2.0, y=-1.5), make_solid(shape="cube", yaw=20.0, y=1.0)
    motion = Motion("glide", velocity=(0.6, -0.4))
    now = make_scene(still, solid)
    then = make_scene(still, motion.at(solid, 0.5))
    flow, visible = forward_flow(now, then, SIZE)
    points, mask = points_seen(now)
    expected = pixel_of(now.camera, points + np.array([0.3, -0.2, 0.0])) - own_pixels()
    moving = mask == 2
    assert moving.sum() > 100
    np.testing.assert_allclose(flow[moving], expected[moving], atol=2e-3)
    assert np.abs(flow[moving]).max() > 1
    standing = (mask == 0) | (mask == 1)
    assert np.abs(flow[standing]).max() < 2e-3
    assert visible[moving].mean() > 0.9


def test_flow_of_a_spinning_solid(make_scene: Build, make_solid: BuildSolid) -> None:
    solid = make_solid(shape="cylinder", tilt=90.0, yaw=15.0, y=0.3)
    now = make_scene(solid)
    then = make_scene(Motion("spin", spin=80.0).at(solid, 0.125))
    flow, _ = forward_flow(now, then, SIZE)
    points, mask = points_seen(now)
    turned = about_vertical(points, now.centres[0], 10.0)
    expected = pixel_of(now.camera, turned) - own_pixels()
    np.testing.assert_allclose(flow[mask == 1], expected[mask == 1], atol=2e-3)
    assert np.abs(flow[mask == 1]).max() > 1


def test_flow_of_a_moving_camera(make_scene: Build, make_solid: BuildSolid) -> None:
    now = make_scene(make_solid(), camera=Camera(10.0, 8.0, 9.0, 45.0, (0.0, 0.0, 1.6)))
    move = CameraMotion(orbit=12.0, rise=4.0, approach=0.1, pan=(0.1, 0.3, 0.05))
    then = make_scene(make_solid(), camera=move.at(now.camera, 0.25))
    flow, visible = forward_flow(now, then, SIZE)
    points, mask = points_seen(now)
    expected = pixel_of(then.camera, points) - own_pixels()
    near = (mask != SKY_ID) & (np.linalg.norm(points - now.camera.position, axis=-1) < 60)
    np.testing.assert_allclose(flow[near], expected[near], atol=5e-3)
    # The sky is infinitely far: only the turning of the camera moves it.
    sky = mask == SKY_ID
    assert sky.sum() > 50
    ray = points_seen_direction(now)
    expected_sky = pixel_of(then.camera, then.camera.position + ray) - own_pixels()
    np.testing.assert_allclose(flow[sky], expected_sky[sky], atol=2e-3)
    assert 0.7 < visible.mean() < 1


def points_seen_direction(scene: Scene) -> Array:
    centres = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    x, y = np.meshgrid(centres, -centres)
    right, up, forward = scene.camera.axes
    ray: Array = forward + scene.camera.half_width * (x[..., None] * right + y[..., None] * up)
    return ray


def test_what_gets_hidden_is_marked(make_scene: Build, make_solid: BuildSolid) -> None:
    """A solid that moves in front of another hides exactly the points it covers next."""
    behind = make_solid(shape="cube", x=-2.0, y=0.0)
    camera = Camera(0.0, 4.0, 9.0, 40.0, (0.0, 0.0, 0.9))
    now = make_scene(behind, make_solid(x=2.0, y=-2.0, radius=0.7), camera=camera)
    then = make_scene(behind, make_solid(x=2.0, y=0.3, radius=0.7), camera=camera)
    flow, visible = forward_flow(now, then, SIZE)
    _, mask = render_geometry(now, SIZE)
    _, mask_then = render_geometry(then, SIZE)
    on_cube = mask == 1
    covered = on_cube & (mask_then == 2)
    assert covered.sum() > 20
    assert not visible[covered].any()
    assert visible[on_cube & (mask_then == 1)].all()
    assert np.abs(flow[on_cube]).max() < 2e-3


def warp(image: Array, flow: Array) -> Array:
    """Bilinear samples of the next frame at the positions the flow points to."""
    at = own_pixels() + flow - 0.5
    at = np.clip(at, 0, SIZE - 1)
    x0, y0 = (np.minimum(np.floor(at[..., k]).astype(int), SIZE - 2) for k in (0, 1))
    fx, fy = (at[..., 0] - x0)[..., None], (at[..., 1] - y0)[..., None]
    top = image[y0, x0] * (1 - fx) + image[y0, x0 + 1] * fx
    low = image[y0 + 1, x0] * (1 - fx) + image[y0 + 1, x0 + 1] * fx
    warped: Array = top * (1 - fy) + low * fy
    return warped


def test_warping_the_next_frame_gives_this_one(make_scene: Build, make_solid: BuildSolid) -> None:
    """Textured matte surroundings keep their brightness, so pictures must line up."""
    ground = Ground("earth", ((0.9, 0.8, 0.6), (0.2, 0.3, 0.2)), 1.6, 20.0, (3.0, 5.0))
    solids = make_solid(material="checkered"), make_solid(shape="cube", y=2.2, material="striped")
    shot = Shot(
        make_scene(*solids, ground=ground),
        (Motion("glide", velocity=(0.4, -0.9)), Motion()),
        CameraMotion(orbit=25.0),
        4,
    )
    movie = render_movie(MovingScene("warp", 8.0, (shot,)), SIZE, 3)
    frames = movie.images.astype(float)
    for frame in range(3):
        visible = movie.visible[frame]
        aligned = np.abs(warp(frames[frame + 1], movie.flow[frame]) - frames[frame])[visible]
        unaligned = np.abs(frames[frame + 1] - frames[frame])[visible]
        assert np.abs(movie.flow[frame][visible]).mean() > 0.5
        assert aligned.mean() < 0.45 * unaligned.mean()
        backwards = np.abs(warp(frames[frame + 1], -movie.flow[frame]) - frames[frame])[visible]
        assert aligned.mean() < 0.35 * backwards.mean()


def test_drawn_movies_carry_masks_along_the_flow() -> None:
    for index in range(3):
        movie = sample_movie(index, n_frames=10, mean_shot=math.inf)
        rendered = render_movie(movie, SIZE, 1)
        for frame in range(9):
            visible = rendered.visible[frame]
            target = np.floor(own_pixels() + rendered.flow[frame]).astype(int)[visible]
            landed = rendered.masks[frame + 1][target[:, 1], target[:, 0]]
            assert (landed == rendered.masks[frame][visible]).mean() > 0.96
            assert visible.mean() > 0.6


def test_last_frames_of_shots_have_no_flow() -> None:
    movie = next(m for m in map(sample_movie, range(20)) if m.cuts)
    rendered = render_movie(movie, 16, 1)
    assert rendered.cuts == movie.cuts
    assert len(rendered.images) == movie.n_frames == 32
    ends = [cut - 1 for cut in movie.cuts] + [31]
    assert not rendered.visible[ends].any()
    assert not rendered.flow[ends].any()
    others = [k for k in range(32) if k not in ends]
    assert rendered.visible[others].any(axis=(1, 2)).all()


def test_frames_are_the_pictures_of_their_scenes() -> None:
    movie = sample_movie(3, n_frames=5)
    rendered = render_movie(movie, 20)
    np.testing.assert_array_equal(rendered.images[3], render([movie.frames()[3]], 20).images[0])
    assert sample_movie(3, n_frames=5) == movie
    assert sample_movie(4, n_frames=5).shots[0].scene != movie.shots[0].scene


def test_solids_stay_apart_and_every_motion_occurs() -> None:
    kinds = set()
    for index in range(30):
        movie = sample_movie(index)
        kinds |= {kind for words in movie.motion_words() for kind in words}
        for frame in movie.frames()[::7]:
            assert separated(frame.solids)
        for shot in movie.shots:
            moving = any(m.kind != "rest" for m in shot.motions)
            assert moving or shot.camera_motion != CameraMotion()
    assert kinds == set(MOTIONS)


def test_no_camera_comes_so_near_that_it_sinks_into_the_ground() -> None:
    # The sixth film of this seed drew such a camera, and the whole simulation stopped.
    movie = sample_movie(5, n_frames=800, fps=8.0, mean_shot=5.0, seed=19)
    ends = [shot.at(shot.n_frames / movie.fps).camera.position[2] for shot in movie.shots]
    assert min(ends) > 0


def test_cuts_follow_no_clock() -> None:
    """Lengths of shots beyond the dead time are exponential: mean equals deviation."""
    from phosphene.data.scenes.draws import Draws
    from phosphene.data.scenes.movies import _shot_frames

    draws = Draws("cuts")
    seconds = np.array([_shot_frames(100.0, 2.5, draws) for _ in range(4000)]) / 100
    assert seconds.min() >= 0.5
    assert seconds.mean() == pytest.approx(2.5, rel=0.06)
    assert seconds.std() == pytest.approx(2.0, rel=0.08)


def test_paths(make_solid: BuildSolid) -> None:
    solid = make_solid(x=1.0)
    assert Motion().at(solid, 3.0) == solid
    assert Motion("spin", spin=90.0).at(solid, 2.0).yaw == 180.0
    assert Motion("glide", velocity=(1.0, -2.0)).at(solid, 0.5).y == -1.0
    hop = Motion("bounce", height=0.8, period=2.0)
    lifts = [hop.at(solid, t).lift for t in (0.0, 0.5, 1.0, 2.0)]
    np.testing.assert_allclose(lifts, [0.0, 0.6, 0.8, 0.0], atol=1e-12)


def test_contradictions_are_refused(make_scene: Build, make_solid: BuildSolid) -> None:
    with pytest.raises(InputError, match="motion 'rest' with spin"):
        Motion("rest", spin=4.0)
    with pytest.raises(InputError, match="motion 'spin' with spin of 0"):
        Motion("spin")
    with pytest.raises(InputError, match="one motion per solid"):
        Shot(make_scene(make_solid()), (), CameraMotion(), 3)
    with pytest.raises(InputError, match="0 shots"):
        MovingScene("none", 8.0, ())
    with pytest.raises(InputError, match="same solids"):
        forward_flow(make_scene(make_solid()), make_scene(), 8)
    with pytest.raises(InputError, match="movie 0"):
        sample_movie(0, n_frames=0)
