// Features of every pixel, as Python's volume renderer integrates them: the same samples along the ray, the same
// density. Samples are left out that the guide, give or take its error, knows to be empty, and those that weigh nothing.
// A draw makes OUTPUTS blocks of four features. Rows are counted from the top, behind a frame of two texels.
uniform int samples; // per ray
uniform float beta; // sharpness of the density, world units
uniform bool isLaplace; // the density's law, else logistic
uniform bool isCulled; // nothing is outside of the ball
uniform bool isOpaque; // the last sample stands for all behind it
uniform int start; // first of the blocks
uniform bool counts; // instead of the first block: evaluations of the distance and of the colour, share of the light

layout(location = 0) out vec4 features[OUTPUTS];

#define TAKE(b) features[b] = sum[b];
const float EMPTY = 10.0; // in beta: so far outside there is no density
const float NOTHING = 3e-4; // weights below

float density(float value) {
  if (isLaplace) return (value > 0.0 ? 0.5 * exp(-value / beta) : 1.0 - 0.5 * exp(value / beta)) / beta;
  return 1.0 / (1.0 + exp(min(value / beta, 80.0))) / beta;
}

void main() {
  vec3 origin, along;
  aim(((gl_FragCoord.xy - 2.0) / size - 0.5) * vec2(1.0, -1.0), origin, along);
  float spacing = 2.0 * radius / float(samples), segment = spacing * length(along);
  vec4 sum[OUTPUTS], tally = vec4(0.0);
  for (int b = 0; b < OUTPUTS; b++) sum[b] = vec4(0.0);
  float left = 1.0; // of the light
  for (int k = 0; left > NOTHING; k++) {
    bool isLast = false;
    float t = 0.0;
    vec3 point;
    for (; k < samples; k++) { // to the next sample that may hold something: rays side by side evaluate together
      t = 1.0 - radius + float(k) * spacing;
      point = origin + along * t;
      isLast = isOpaque && k == samples - 1;
      if (isLast || (length(point) < radius ? guess(point) - guideError < EMPTY * beta : !isCulled)) break;
    }
    if (k >= samples) break;
    float opacity = 1.0 - exp(-density(distanceAt(point)) * segment);
    tally.x += 1.0;
    if (isLast) opacity = 1.0;
    float weight = opacity * left;
    left -= weight;
    if (weight < NOTHING) continue;
    tally += vec4(0.0, 1.0, weight, 0.0);
    for (int b = 0; b < OUTPUTS; b++) {
      if (start + b < blocks) sum[b] += weight * sin(within(later(DEPTH, start + b)));
    }
  }
  features[0] = counts ? tally : sum[0];
  TAKE(1) TAKE(2) TAKE(3)
#if OUTPUTS == 8
  TAKE(4) TAKE(5) TAKE(6) TAKE(7)
#endif
}
