// A map's colour by a 1 by 1 convolution, added to the colour so far, which the low-pass doubles.
uniform sampler2DArray before;
uniform bool hasBefore;

void main() {
  ivec2 p = ivec2(gl_FragCoord.xy);
  vec4 bias = texelFetch(head, ivec2(0, row + 2), 0);
  vec4 tl = bias, tr = bias, bl = bias, br = bias;
  for (int i = 0; i < blocks; i++) {
    vec4 style = texelFetch(head, ivec2(i, row), 0);
    mat4 m = tap(4 * i);
    tl += m * AT(0, 0, 0);
    tr += m * AT(0, 0, 1);
    bl += m * AT(0, 0, 2);
    br += m * AT(0, 0, 3);
  }
  if (hasBefore) {
    vec4 lefts[3], rights[3];
    for (int y = 0; y < 3; y++) {
      vec4 centre = 0.75 * pixel(before, p + ivec2(-1, y - 2), 0);
      lefts[y] = centre + 0.25 * pixel(before, p + ivec2(-2, y - 2), 0);
      rights[y] = centre + 0.25 * pixel(before, p + ivec2(0, y - 2), 0);
    }
    tl += 0.75 * lefts[1] + 0.25 * lefts[0];
    tr += 0.75 * rights[1] + 0.25 * rights[0];
    bl += 0.75 * lefts[1] + 0.25 * lefts[2];
    br += 0.75 * rights[1] + 0.25 * rights[2];
  }
  topLeft = tl;
  topRight = tr;
  bottomLeft = bl;
  bottomRight = br;
}
