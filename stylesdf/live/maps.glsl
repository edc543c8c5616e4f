// The decoder's maps. Pixels lie two by two: texel (X, Y) of layer 4 b + 2 y + x holds channels 4 b .. 4 b + 3 of the
// pixel in column 2 X - 2 + x and row 2 Y - 2 + y, from the top. One texel of zeros frames each map. A draw makes one
// block of four channels, a fragment its four pixels: what it reads serves all four.

uniform sampler2DArray inputs;
uniform sampler2D head; // of layer n, four channels a texel: row 3 n styles of inputs, 3 n + 1 scales and 3 n + 2 biases
uniform sampler2D kernel; // texel (4 (taps i + t) + c, b): from channel 4 i + c to channels 4 b .. 4 b + 3 at tap t
uniform int blocks; // of the inputs
uniform int block; // that is made
uniform int row; // 3 n
uniform sampler2D noise; // one number a pixel
uniform float strength; // of the noise

layout(location = 0) out vec4 topLeft;
layout(location = 1) out vec4 topRight;
layout(location = 2) out vec4 bottomLeft;
layout(location = 3) out vec4 bottomRight;

// Of convolutions: the styled pixel `part` of four, X and Y texels aside; four products with one tap.
#ifdef PLAIN // volume.glsl's features, a pixel a texel
#define AT(X, Y, part) (style * texelFetch(inputs, ivec3(2 * (p + ivec2(X, Y)) + ivec2(part & 1, part >> 1), i), 0))
#else
#define AT(X, Y, part) (style * texelFetch(inputs, ivec3(p + ivec2(X, Y), 4 * i + part), 0))
#endif
#define TAP(t, a, b, c, d) m = tap(4 * (9 * i + t)); tl += m * a; tr += m * b; bl += m * c; br += m * d

vec4 pixel(sampler2DArray map, ivec2 at, int block) {
  return texelFetch(map, ivec3((at >> 1) + 1, 4 * block + 2 * (at.y & 1) + (at.x & 1)), 0);
}

mat4 tap(int at) {
  return mat4(texelFetch(kernel, ivec2(at, block), 0), texelFetch(kernel, ivec2(at + 1, block), 0),
    texelFetch(kernel, ivec2(at + 2, block), 0), texelFetch(kernel, ivec2(at + 3, block), 0));
}

vec4 finished(vec4 value, ivec2 at) { // bias, noise, leaky ReLU
  value += texelFetch(head, ivec2(block, row + 2), 0);
  if (strength != 0.0) value += strength * texelFetch(noise, at, 0).r;
  return max(value, 0.2 * value);
}

void finish(vec4 values[4]) {
  ivec2 at = 2 * (ivec2(gl_FragCoord.xy) - 1);
  topLeft = finished(values[0], at);
  topRight = finished(values[1], at + ivec2(1, 0));
  bottomLeft = finished(values[2], at + ivec2(0, 1));
  bottomRight = finished(values[3], at + ivec2(1, 1));
}
