# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Draws scripts/bench's figures: bars with ranges. gnuplot -e "data=...; peers=...; out=..." bench.gp
#
# Rates and times have many rows, and get the whole width each; what has other units stands side by
# side below them, on scales from zero (but calls, which are far apart).

set output out
set style data histograms
set style histogram errorbars gap 1 linewidth 1
set style fill solid 0.85 border -1
set boxwidth 0.9
set xtics rotate by -35 nomirror
set grid ytics
colours = "#1b6ca8 #c8553d #e0a030 #8a8a8a"
names = "vxs testpmd ovs ceiling"
colour(p) = (i = 0, sum [k=1:words(names)] (word(names, k) eq p ? (i = k) : 0), word(colours, i))

# The rows of a unit: its second word, behind a name in quotes.
rows(unit) = "< grep '\" " . unit . " ' " . data
count(unit) = system("grep -c '\" " . unit . " ' " . data) + 0
# Peers with a figure in that unit: gnuplot stops where one has none.
measured(unit) = system("gawk -F '\"' '{ n = split($3, f, \" \") } f[1] == \"" . unit . "\" { " . \
	"for (i = 2; i < n; i += 3) if (f[i] != \"NaN\") has[(i + 1) / 3] = 1 } " . \
	"END { for (p in has) print p }' " . data . " | sort -n")
wide = "Mpps us"
narrow = "Gbit/s x % MiB /1000 /s"
title_of(unit) = unit eq "Mpps" ? "million frames a second" : unit eq "us" ? "there and back, us" : \
	unit eq "x" ? "share of the rate kept" : unit eq "%" ? "% of one CPU" : \
	unit eq "/1000" ? "system calls in 1000 frames" : unit eq "/s" ? "system calls a second" : unit

n_wide = 0
do for [unit in wide] { n_wide = n_wide + (count(unit) > 0) }
n_narrow = 0
do for [unit in narrow] { n_narrow = n_narrow + (count(unit) > 0) }
height = 1.0 / (n_wide + (n_narrow > 0))
y = 1.0

set terminal svg size 1200, 420 * (n_wide + (n_narrow > 0)) font "sans,11" background "white"
set multiplot
set rmargin 16
set key outside top center horizontal
set logscale y
do for [unit in wide] {
	if (count(unit) > 0) {
		y = y - height
		set origin 0, y
		set size 1, height
		set ylabel title_of(unit)
		columns = measured(unit)
		plot for [c in columns] rows(unit) using 3*c:3*c+1:3*c+2:xtic(1) \
			title word(peers, c + 0) linecolor rgb colour(word(peers, c + 0))
	}
}
unset logscale y
set yrange [0:*]
set rmargin 5
set bmargin 8
x = 0.0
if (n_wide > 0) { unset key }
do for [unit in narrow] {
	if (count(unit) > 0) {
		set origin x, 0
		set size 1.0 / n_narrow, height
		set ylabel title_of(unit)
		columns = measured(unit)
		if (unit eq "/1000") { set logscale y; set yrange [*:*] }
		plot for [c in columns] rows(unit) using 3*c:3*c+1:3*c+2:xtic(1) \
			title word(peers, c + 0) linecolor rgb colour(word(peers, c + 0))
		unset logscale y
		set yrange [0:*]
		x = x + 1.0 / n_narrow
	}
}
unset multiplot
