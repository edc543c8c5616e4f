// One slice of the guide: the distance on a grid around the origin. Where a coarser grid says that the surface is far,
// its interpolation is good enough.
uniform sampler3D coarse;
uniform bool hasCoarse;
uniform float radius; // of the scene's ball
uniform float extent; // half of the cube's side
uniform float size; // samples per side
uniform float coarseSize;
uniform float slice;
uniform float reach; // beyond this distance the coarse grid stands

out vec4 result;

void main() {
  vec3 cell = vec3(gl_FragCoord.xy - 0.5, slice);
  vec3 point = (cell / (size - 1.0) * 2.0 - 1.0) * extent;
  float outside = length(point) - radius;
  float spacing = 2.0 * extent / (size - 1.0);
  if (outside > 1.8 * spacing) { // no cell of the ball has this corner
    result = vec4(outside);
    return;
  }
  if (hasCoarse && outside < 0.0) {
    float guess = textureLod(coarse, point / extent * (coarseSize - 1.0) / coarseSize * 0.5 + 0.5, 0.0).r;
    if (abs(guess) > reach) {
      result = vec4(guess);
      return;
    }
  }
  result = vec4(distanceAt(point));
}
