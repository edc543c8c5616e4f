// The low-pass [1 3 3 1] / 4 along both axes behind spread.glsl: 2 R + 1 pixels a side give 2 R.
const float UPPER[5] = float[5](1.0, 3.0, 3.0, 1.0, 0.0), LOWER[5] = float[5](0.0, 1.0, 3.0, 3.0, 1.0);

vec4 wide(ivec2 at) { // spread.glsl says where it lies
  return pixel(inputs, at >> 1, 4 * block + 2 * (at.y & 1) + (at.x & 1));
}

void main() {
  ivec2 p = 2 * (ivec2(gl_FragCoord.xy) - 1) - 1;
  vec4 tl = vec4(0.0), tr = tl, bl = tl, br = tl;
  for (int y = 0; y < 5; y++) {
    vec4 a = wide(p + ivec2(0, y)), b = wide(p + ivec2(1, y)), c = wide(p + ivec2(2, y));
    vec4 d = wide(p + ivec2(3, y)), e = wide(p + ivec2(4, y));
    vec4 left = (a + d + 3.0 * (b + c)) / 16.0, right = (b + e + 3.0 * (c + d)) / 16.0;
    tl += UPPER[y] * left;
    tr += UPPER[y] * right;
    bl += LOWER[y] * left;
    br += LOWER[y] * right;
  }
  finish(vec4[4](tl, tr, bl, br));
}
