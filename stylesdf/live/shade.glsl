// What was found becomes a picture, pixel by pixel.

uniform sampler2D places, colours, normals;
uniform int mode; // 0 picture, 1 normals, 2 depth, 3 clay
uniform vec2 depths; // nearest and farthest that the ramp shows
uniform vec3 aside; // towards the fill light
uniform vec3 background, paper;

out vec4 result;

const vec3 CLAY = vec3(236.0, 228.0, 216.0) / 255.0;

// near to far: pale yellow, coral, plum, midnight, as in Python's pictures
vec3 ramp(float share) {
  vec3 stops[6] = vec3[6](vec3(254, 246, 190), vec3(253, 176, 108), vec3(229, 92, 98), vec3(149, 48, 122),
    vec3(75, 26, 116), vec3(18, 12, 52));
  float x = clamp(share, 0.0, 1.0) * 5.0;
  int i = min(int(x), 4);
  return mix(stops[i], stops[i + 1], x - float(i)) / 255.0;
}

void main() {
  ivec2 pixel = ivec2(gl_FragCoord.xy);
  vec4 place = texelFetch(places, pixel, 0);
  vec3 empty = mode == 0 ? background : paper;
  if (place.w == 0.0) {
    result = vec4(empty, 1.0);
    return;
  }
  vec3 normal = texelFetch(normals, pixel, 0).xyz, shown = texelFetch(colours, pixel, 0).rgb;
  if (place.w == 1.0) { // else it is the cut plane, which looks the same in all modes
    if (mode == 0) shown = lit(shown, normal);
    if (mode == 1) shown = normal * 0.5 + 0.5;
    if (mode == 2) shown = ramp((place.x - depths.x) / (depths.y - depths.x));
    if (mode == 3) shown = CLAY * (0.25 + 0.65 * max(dot(normal, light), 0.0) + 0.2 * max(dot(normal, aside), 0.0));
  }
  result = vec4(shown, 1.0);
}
