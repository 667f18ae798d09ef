# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Draws scripts/bench's figures: bars with ranges. gnuplot -e "data=...; peers=...; out=..." bench.gp

set terminal svg size 1200,900 font "sans,11" background "white"
set output out
set style data histograms
set style histogram errorbars gap 1 linewidth 1
set style fill solid 0.85 border -1
set boxwidth 0.9
set rmargin 16
set xtics rotate by -35 nomirror
set grid ytics
set logscale y
set key outside top center horizontal
colours = "#1b6ca8 #c8553d #e0a030 #8a8a8a"
names = "vxs testpmd ovs ceiling"
colour(p) = (i = 0, sum [k=1:words(names)] (word(names, k) eq p ? (i = k) : 0), word(colours, i))

rates = system("grep -c Mpps " . data) + 0
times = system("grep -c ' us ' " . data) + 0
set multiplot layout (rates > 0) + (times > 0), 1
if (rates > 0) {
	set ylabel "million frames a second"
	plot for [p=1:words(peers)] "< grep Mpps " . data using 3*p:3*p+1:3*p+2:xtic(1) \
		title word(peers, p) linecolor rgb colour(word(peers, p))
}
if (times > 0) {
	set ylabel "there and back, us"
	plot for [p=1:words(peers)] "< grep ' us ' " . data using 3*p:3*p+1:3*p+2:xtic(1) \
		title word(peers, p) linecolor rgb colour(word(peers, p))
}
unset multiplot
