// One ray per pixel to the surface inside the scene's ball. The guide, a grid of distances, says where to look: the ray
// marches through it for a few texture reads, and the field is evaluated only where the guide, give or take its error,
// may be zero. There Newton's method with the guide's slope finds the root; between a place outside and one inside it
// is bracketed, which catches rims thinner than the guide resolves.
uniform float slope; // bound on the distance's gradient, measured by the exporter
uniform int evaluations; // of the field, at most
uniform vec4 cut; // beyond the plane cut.xyz . p = cut.w all is cut away; zero: no plane

layout(location = 0) out vec4 place; // z-depth, distance there, evaluations, what was hit (see below)
layout(location = 1) out vec4 colour;

const float NOTHING = 0.0, SURFACE = 1.0, INSIDE = 2.0; // INSIDE: the cut plane, where it passes through the head
const int STEPS = 120;
const float TOLERANCE = 5e-5; // world units; a quarter of a pixel of 1024
const float FAR = 1e9;

// Distance as contour lines, blue inside
vec3 contours(float value, float pixel) {
  float depth = clamp(-value / (0.5 * radius), 0.0, 1.0);
  vec3 paper = mix(vec3(0.97, 0.96, 0.93), vec3(0.11, 0.30, 0.54), sqrt(depth));
  float spacing = radius / 20.0;
  float off = abs(fract(value / spacing - 0.5) - 0.5) * spacing;
  float line = 1.0 - smoothstep(0.5 * pixel, 1.5 * pixel, off);
  float rim = 1.0 - smoothstep(1.0 * pixel, 2.5 * pixel, -value);
  return mix(mix(paper, vec3(1.0), 0.55 * line), vec3(0.06, 0.09, 0.16), rim);
}

void main() {
  vec3 origin, along;
  aim(gl_FragCoord.xy / size - 0.5, origin, along);
  vec3 ray = normalize(along);
  place = vec4(0.0);
  colour = vec4(0.0);

  // the part of the ray inside the ball, and behind the plane
  float middle = -dot(origin, ray), half2 = middle * middle - dot(origin, origin) + radius * radius;
  if (half2 <= 0.0) return;
  float near = middle - sqrt(half2), far = middle + sqrt(half2);
  bool startsAtPlane = false;
  if (cut.xyz != vec3(0.0)) {
    float rate = dot(cut.xyz, ray), height = dot(cut.xyz, origin) - cut.w, crossing = -height / rate;
    if (height > 0.0) {
      if (rate >= 0.0 || crossing > far) return;
      startsAtPlane = crossing > near;
      near = max(near, crossing);
    } else if (rate > 0.0) {
      far = min(far, crossing);
    }
    if (near >= far) return;
  }

  float spacing = 2.0 * radius / (guideSize - 1.0), stride = 0.35 * spacing;
  float t = near, value = 0.0, rate = -1.0; // where the field was evaluated last, and its slope along the ray
  float low = near, lowValue = FAR, high = FAR, highValue = 0.0; // a place outside, a place inside
  float count = 0.0, kind = NOTHING;
  float start = guess(origin + ray * near);
  bool isFirst = start < guideError, isMarching = !isFirst, isDip = false;
  float at = near, last = FAR, limit = FAR; // of the march; FAR: nothing was read yet
  float outside = near; // the last place that is surely outside
  int steps = 0;

  for (int k = 0; k < evaluations; k++) {
    if (isMarching) { // to the next place where the guide is zero, or nearly so and lowest
      bool isFound = false;
      float before = at, beforeValue = last;
      for (; steps < STEPS && at < far; steps++) {
        float here = guess(origin + ray * at);
        if (here <= 0.0) {
          t = last < FAR && last > 0.0 ? mix(before, at, last / (last - here)) : at;
          isDip = false;
          isFound = true;
          break;
        }
        if (last < guideError && here > last && beforeValue >= last && beforeValue < FAR) {
          t = before;
          isDip = true;
          isFound = true;
          last = FAR;
          break;
        }
        if (here > guideError) outside = at;
        beforeValue = last;
        last = here;
        before = at;
        at += max((here - guideError) / slope, stride);
      }
      if (!isFound) break;
      low = outside;
      lowValue = high = FAR;
      isMarching = false;
      limit = t + 4.0 * spacing;
      rate = (guess(origin + ray * (t + 0.5 * stride)) - guess(origin + ray * (t - 0.5 * stride))) / stride;
      rate = min(rate, -0.25);
    }
    value = distanceAt(origin + ray * t);
    count += 1.0;
    if (isFirst ? value < 0.0 : abs(value) < TOLERANCE && !(isDip && value > 0.0)) {
      kind = isFirst && startsAtPlane ? INSIDE : SURFACE;
      if (!isFirst) t = clamp(t - value / rate, low, far);
      break;
    }
    if (isFirst) { // outside: the march begins
      isFirst = false;
      isMarching = true;
      continue;
    }
    if (value < 0.0) {
      high = t;
      highValue = value;
    } else {
      if (lowValue < FAR) rate = min((value - lowValue) / max(t - low, 1e-7), -0.1);
      low = outside = t;
      lowValue = value;
    }
    if (high < FAR) { // regula falsi with a measured value on both sides, else Newton; bisection where they leave
      float next = lowValue < FAR ? mix(low, high, lowValue / (lowValue - highValue)) : t - value / rate;
      t = next > low && next < high ? next : 0.5 * (low + high);
      if (k == evaluations - 1 || high - low < 0.25 * TOLERANCE) {
        t = high;
        value = highValue;
        kind = SURFACE;
        break;
      }
    } else {
      float next = isDip ? FAR : t + value / max(-rate, 0.3);
      if (next > limit || next > far) { // the guide was wrong: go on behind this place
        at = max(at, t + stride);
        last = FAR;
        isMarching = true;
      } else {
        t = next;
      }
    }
  }
  if (kind == NOTHING) {
    place = vec4(0.0, 0.0, count, NOTHING);
    return;
  }
  place = vec4(t / length(along), value, count, kind);
  float pixel = t / (focal * size);
  colour = vec4(kind == INSIDE ? contours(value, pixel) : colourHere(), 1.0);
}
