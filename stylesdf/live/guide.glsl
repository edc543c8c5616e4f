// One slice of the guide, a grid of distances. Where a coarser one says that the surface is far, it is good enough.
uniform sampler3D coarse;
uniform bool hasCoarse;
uniform float coarseSize; // samples per side, as is size
uniform float slice;
uniform float reach; // beyond this distance the coarse grid stands

out vec4 result;

void main() {
  vec3 cell = vec3(gl_FragCoord.xy - 0.5, slice);
  vec3 point = (cell / (size - 1.0) * 2.0 - 1.0) * radius;
  float outside = length(point) - radius;
  float spacing = 2.0 * radius / (size - 1.0);
  if (outside > 1.8 * spacing) { // no cell of the ball has this corner
    result = vec4(outside);
    return;
  }
  if (hasCoarse && outside < 0.0) {
    float guess = textureLod(coarse, point / radius * (coarseSize - 1.0) / coarseSize * 0.5 + 0.5, 0.0).r;
    if (abs(guess) > reach) {
      result = vec4(guess);
      return;
    }
  }
  result = vec4(distanceAt(point));
}
